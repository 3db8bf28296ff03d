import type { Family } from '#wg/ip.ts'

/** A foreign change that was repaired. */
export interface RepairNote {
  /** Unix time in milliseconds. */
  readonly at: number
  /** Undefined for what is of both. */
  readonly family: Family | undefined
  /** In words: `removed route …`. */
  readonly what: string
}

const WINDOW = 60_000
const QUARREL = 5
const KEPT = 20

/** What others have changed of ours, and whether it has become a quarrel: five repairs within a minute. */
export class Repairs {
  readonly #recent: RepairNote[] = []
  #total = 0

  note(family: Family | undefined, what: string, at = Date.now()): void {
    this.#total++
    this.#recent.push({ at, family, what })
    if (this.#recent.length > KEPT) this.#recent.shift()
  }

  get total(): number {
    return this.#total
  }

  /** The newest last. */
  get recent(): readonly RepairNote[] {
    return this.#recent
  }

  /** The newest of five or more repairs within a minute; undefined while there is peace. */
  quarrel(now = Date.now()): RepairNote | undefined {
    const within = this.#recent.filter(({ at }) => now - at < WINDOW)
    return within.length >= QUARREL ? within.at(-1) : undefined
  }
}
