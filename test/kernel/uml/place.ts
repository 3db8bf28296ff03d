import { join } from 'node:path'
import { kernelCache } from '../kernels.ts'

/** Kernels that are made into programs, by the Debian suites that have their source. */
export const SUITES = {
  /** What current distributions ship. Its processes are traced, each system call: half as fast as what has seccomp (6.19 and later). */
  '6.12': 'trixie',
  newest: 'sid',
} as const

export type UmlKernel = keyof typeof SUITES

export const UML_KERNELS = Object.keys(SUITES) as readonly UmlKernel[]

export const isUmlKernel = (name: string): name is UmlKernel => name in SUITES

/** Where the program is that is a Linux kernel. */
export const program = (kernel: UmlKernel): string => join(kernelCache(), 'uml', kernel, 'linux')
