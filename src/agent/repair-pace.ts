/** So much at once, and one more after each period. */
class Allowance {
  readonly #most: number
  readonly #period: number
  #left: number
  #at: number | undefined

  constructor(most: number, period: number) {
    this.#most = most
    this.#period = period
    this.#left = most
  }

  /** @param now milliseconds, monotonic @returns milliseconds until there is one; 0 where it has been taken */
  take(now: number): number {
    this.#left = Math.min(this.#most, this.#left + (now - (this.#at ?? now)) / this.#period)
    this.#at = now
    if (this.#left < 1) return Math.ceil((1 - this.#left) * this.#period)
    this.#left--
    return 0
  }
}

/** Who makes trouble again and again is not to fill the log: of what does not end, twenty lines a minute are written. */
export class LinePace {
  readonly #lines = new Allowance(20, 3_000)
  #unsaid = 0

  /** @param now milliseconds, monotonic @returns how many lines went unsaid before this one; undefined where this one does as well */
  say(now: number): number | undefined {
    if (this.#lines.take(now) > 0) {
      this.#unsaid++
      return undefined
    }
    const unsaid = this.#unsaid
    this.#unsaid = 0
    return unsaid
  }
}

/** Milliseconds in which changes are one: a table that is flushed is told of route by route. */
const ONE = 50

/**
 * Who fights the agent is not to have it do nothing else, nor fill the log. What comes in a burst is repaired and said at
 * once; of what goes on and on, four repairs a second begin and twenty lines a minute are written.
 */
export class RepairPace {
  readonly #repairs = new Allowance(20, 250)
  readonly #lines = new LinePace()
  #begun = Number.NEGATIVE_INFINITY

  /** @param now milliseconds, monotonic @returns milliseconds until the repair of what was found now may begin */
  repair(now: number): number {
    if (now - this.#begun < ONE) return 0
    const wait = this.#repairs.take(now)
    if (wait === 0) this.#begun = now
    return wait
  }

  /** @returns how many changes went unsaid before this one; undefined where this one does as well */
  say(now: number): number | undefined {
    return this.#lines.say(now)
  }
}
