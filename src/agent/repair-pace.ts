import { Allowance, LinePace } from '#src/cluster/line-pace.ts'

/** Milliseconds within which the same is said once: whoever flushes a table does so again for as long as it is filled again. */
const SAME = 100

/** Milliseconds in which changes are one: a table that is flushed is told of route by route. */
const ONE = 50

/**
 * Who fights the agent is not to have it do nothing else, nor fill the log. What comes in a burst is repaired and said at
 * once; of what goes on and on, four repairs a second begin and twenty lines a minute are written.
 */
export class RepairPace {
  readonly #repairs = new Allowance(20, 250)
  readonly #lines = new LinePace()
  readonly #said = new Set<string>()
  #saidSince = Number.NEGATIVE_INFINITY
  #begun = Number.NEGATIVE_INFINITY

  /** @param now milliseconds, monotonic @returns milliseconds until the repair of what was found now may begin */
  repair(now: number): number {
    if (now - this.#begun < ONE) return 0
    const wait = this.#repairs.take(now)
    if (wait === 0) this.#begun = now
    return wait
  }

  /** @param what in words @returns how many changes went unsaid before this one; undefined where this one does as well */
  say(what: string, now: number): number | undefined {
    if (now - this.#saidSince >= SAME) {
      this.#said.clear()
      this.#saidSince = now
    }
    if (this.#said.has(what)) return this.#lines.skip()
    this.#said.add(what)
    return this.#lines.say(now)
  }
}
