import type { Lab } from './lab.ts'
import type { TrafficSnapshot } from './traffic.ts'
import { clearPodFrames, type UnderlaySnapshot, underlayDelta, wireguardFrames } from './underlay-watch.ts'

/** What is seen of a lab in one moment. */
export interface Observation {
  readonly traffic: TrafficSnapshot
  readonly underlay: UnderlaySnapshot
  /** Frames since the observation before. */
  readonly since: UnderlaySnapshot
  readonly encryptedPairs: number
  readonly pairs: number
}

/** Looks at loss, leaks and steering together, again and again. */
export class Monitor {
  readonly #lab: Lab
  #before: UnderlaySnapshot | undefined

  constructor(lab: Lab) {
    this.#lab = lab
  }

  /** The kernels are asked about steering before the frames are counted: what is counted is not older than the answer. */
  async observe(): Promise<Observation> {
    const steering = await this.#lab.steering()
    const underlay = await this.#lab.underlay.snapshot()
    const traffic = await this.#lab.traffic.snapshot()
    const since = underlayDelta(this.#before ?? underlay, underlay)
    this.#before = underlay
    return {
      traffic,
      underlay,
      since,
      encryptedPairs: steering.filter(pair => pair.encrypted).length,
      pairs: steering.length,
    }
  }
}

/** One line for a person. */
export function observationLine({ traffic, since, encryptedPairs, pairs }: Observation): string {
  const seconds = (traffic.elapsedMs / 1000).toFixed(1).padStart(6)
  return [
    `${seconds} s`,
    `encrypted ${String(encryptedPairs).padStart(String(pairs).length)}/${pairs}`,
    `sent ${traffic.sent}`,
    `lost ${traffic.missing}`,
    `in clear ${clearPodFrames(since)}`,
    `tunnelled ${wireguardFrames(since)}`,
  ].join('   ')
}
