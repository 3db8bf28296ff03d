import { Allowance, LinePace } from '#src/cluster/line-pace.ts'

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
