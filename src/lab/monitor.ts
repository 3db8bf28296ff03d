import type { Lab } from './lab.ts'
import type { Steering } from './steering.ts'
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
  /** Pairs that are encrypted now and were not before, or the other way round. */
  readonly turned: readonly Steering[]
}

/** Looks at loss, leaks and steering together, again and again. */
export class Monitor {
  readonly #lab: Lab
  #before: UnderlaySnapshot | undefined
  #encrypted = new Set<string>()

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
    const turned = steering.filter(pair => pair.encrypted !== this.#encrypted.has(pairText(pair)))
    this.#encrypted = new Set(steering.filter(pair => pair.encrypted).map(pairText))
    return {
      traffic,
      underlay,
      since,
      encryptedPairs: steering.filter(pair => pair.encrypted).length,
      pairs: steering.length,
      turned,
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

/** How many pairs one line names. */
const NAMED = 6

/** What has turned since the observation before, in one line; undefined when nothing has. */
export function turnedLine({ turned }: Observation): string | undefined {
  if (turned.length === 0) return undefined
  const names = turned.slice(0, NAMED).map(pairText)
  if (turned.length > NAMED) names.push(`and ${turned.length - NAMED} more`)
  return `           ${turned[0]?.encrypted ? 'now encrypted' : 'now in clear'}: ${names.join(', ')}`
}

const pairText = ({ source, destination, family }: Steering): string => `${source} → ${destination} (IPv${family})`
