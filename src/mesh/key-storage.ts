export const KEY_STORAGES = ['disk', 'memory'] as const

/** Where private keys outlive the agent: in its state directory, or in the kernel's devices alone. */
export type KeyStorage = (typeof KEY_STORAGES)[number]
