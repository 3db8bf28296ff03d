import type { DataplaneChoice } from '#src/lab/state.ts'
import type { Needs } from '../../harness/requirements.ts'

/** In a VM whose processor is emulated there is little to spare, and the kernel's own WireGuard to test. */
const inVm = process.env.PODVEIL_TIER === 'kernel'
/** The counts of the long profile are the host's: where the processor is emulated, it is enough that every case runs. */
const long = process.env.PODVEIL_LONG === '1' && !inVm

/** What differs between tiers and between the short and the long profile, and nothing else does. */
export const profile = {
  long,
  dataplane: (inVm ? 'kernel' : 'userspace') satisfies DataplaneChoice,
  /** Datagrams a second for each pair of pods and family while encryption is switched: with two or three nodes, and with ten. */
  rate: inVm ? 30 : 500,
  rateOfTen: inVm ? 2 : 50,
  /** While something else happens: the probes are not to be most of what a case costs. */
  usualRate: inVm ? 30 : long ? 200 : 50,
  /** Times that encryption is turned on and off: where it is the point, and where it only has to work at all. */
  switches: long ? 10 : inVm ? 3 : 4,
  fewSwitches: long ? 10 : 1,
  /** Milliseconds for which traffic is watched while nothing changes. */
  watchMs: long ? 5_000 : inVm ? 1_000 : 500,
} as const

/** How much longer everything may take where the processor is emulated. */
const PATIENCE = inVm ? 5 : 1

/** A limit for a wait, in milliseconds, given what it is on a machine of two cores. */
export const limit = (milliseconds: number): number => milliseconds * PATIENCE

/** How long one case may take, given its limit in seconds in the short profile on a machine of two cores. */
export const caseLimit = (seconds: number): number => seconds * 1_000 * PATIENCE * (long ? 5 : 1)

/** What the mesh's cases need of the machine. */
export const meshNeeds: Needs = {
  programs: ['wg', 'nft'],
  userspaceWireGuard: profile.dataplane === 'userspace',
}
