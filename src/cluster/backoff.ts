import type { Clock } from './clock.ts'

/** Uniform in [0, 1). */
export type Random = () => number

/**
 * First and longest delay. The first is long enough that an API server that is just coming up is not asked twice a
 * second by every node; the longest is how late the last node may notice that it is back.
 */
const FIRST_MS = 800
const LONGEST_MS = 30_000

/** So long must things go well before the next failure counts as the first again: a server that restarts in a loop is not well. */
const HEALTHY_MS = 120_000

/**
 * Delays that double from 0.8 s to 30 s. Each is drawn from the upper half of its step, so that thousands of nodes that
 * lost the same server at the same moment do not come back at the same moment.
 */
export class Backoff {
  readonly #clock: Clock
  readonly #random: Random
  #failures = 0
  #healthySince: number | undefined

  constructor(clock: Clock, random: Random) {
    this.#clock = clock
    this.#random = random
  }

  /** Failures since things last went well for two minutes. */
  get failures(): number {
    return this.#failures
  }

  /** It works: starts the two minutes, where they have not started. */
  succeeded(): void {
    this.#healthySince ??= this.#clock.now()
  }

  /** It failed. @returns milliseconds to wait */
  failed(): number {
    if (this.#healthySince !== undefined && this.#clock.now() - this.#healthySince >= HEALTHY_MS) this.#failures = 0
    this.#healthySince = undefined
    const step = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#failures + 1, 16))
    this.#failures++
    return between(step / 2, step, this.#random)
  }
}

/** Uniform in [low, high), in the unit of its arguments. */
export const between = (low: number, high: number, random: Random): number => low + (high - low) * random()
