import type { Clock } from '#src/cluster/clock.ts'

/** Time that goes a thousand times as fast. */
export const hastyClock: Clock = {
  now: () => performance.now() * 1_000,
  wall: () => Date.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms / 1_000)
    return () => clearTimeout(timer)
  },
}

/** Time that stands still until a test moves it. */
export class ManualClock implements Clock {
  #now = 0
  readonly #timers = new Map<number, { at: number; callback: () => void }>()
  #next = 0

  now(): number {
    return this.#now
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now
  }

  after(ms: number, callback: () => void): () => void {
    const id = this.#next++
    this.#timers.set(id, { at: this.#now + ms, callback })
    return () => this.#timers.delete(id)
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.size
  }

  /** Moves time on, and calls what is due in its order. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort((a, b) => a[1].at - b[1].at)[0]
      if (!due) break
      const [id, timer] = due
      this.#timers.delete(id)
      this.#now = timer.at
      timer.callback()
    }
    this.#now = end
  }
}

/** Time that runs `factor` times as fast: what takes half a minute takes 30 ms at 1,000. */
export const fastClock = (factor: number): Clock => ({
  now: () => performance.now() * factor,
  wall: () => 1_700_000_000_000 + performance.now() * factor,
  after(ms, callback) {
    const timer = setTimeout(callback, ms / factor)
    return () => clearTimeout(timer)
  },
})
