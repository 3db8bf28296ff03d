import type { Route } from '#wg/rtnetlink/route.ts'

/** The kernel's own word on the way of one packet. */
export interface AskedRoute {
  /** `unplaced`: a pod's, whose device could not be found, so that rules which look at it were not asked. */
  readonly as: 'sent' | 'forwarded' | 'unplaced'
  /** Name of the device that the packet comes in by. */
  readonly device: string | undefined
  /** Undefined where nothing leads there. */
  readonly route: Route | undefined
  /** Why the kernel drops it; undefined where it does not. */
  readonly refused: string | undefined
}
