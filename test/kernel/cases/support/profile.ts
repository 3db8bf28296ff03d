/** The long profile has the counts that a release is held to; the short one is for every day, under emulation. */
export const isLong = process.env.PODVEIL_LONG === '1'

/** Only in the VM of test/kernel/run may a test take modules and privileges away: that machine is thrown away. */
export const inTestVm = process.env.PODVEIL_VM_KERNEL !== undefined

export const notInTestVm = 'changes the machine: only in the VM of test/kernel/run'
