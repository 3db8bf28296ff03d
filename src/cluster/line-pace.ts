/** So much at once, and one more after each period. */
export class Allowance {
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

  /** One line goes unsaid. */
  skip(): undefined {
    this.#unsaid++
  }
}
