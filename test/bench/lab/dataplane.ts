import type { LabSpec } from '#src/lab/state.ts'

/** Which WireGuard the tier has. */
export const dataplane = (): LabSpec['dataplane'] => (process.env.PODVEIL_TIER === 'kernel' ? 'kernel' : 'userspace')
