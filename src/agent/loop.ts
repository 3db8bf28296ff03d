/**
 * Runs one piece of work again and again, never twice at once: when it is woken, and when it said that it is due. Wakes
 * that come while it runs make it run once more.
 */
export class Loop {
  readonly #work: () => Promise<number>
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #again = false
  #stopped = false
  #lastRun = performance.now()

  /** @param work returns when it is due again, milliseconds of performance.now(); it handles its own errors */
  constructor(work: () => Promise<number>) {
    this.#work = work
  }

  /** Milliseconds since the work last ended, for liveness. */
  get idleFor(): number {
    return performance.now() - this.#lastRun
  }

  wake(): void {
    if (this.#stopped) return
    if (this.#running) {
      this.#again = true
      return
    }
    clearTimeout(this.#timer)
    this.#running = this.#run()
  }

  /** No more work; what runs is waited for. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#running
  }

  async #run(): Promise<void> {
    let due = 0
    do {
      // Everything that arrived together is taken in together.
      await new Promise(resolve => setImmediate(resolve))
      this.#again = false
      due = await this.#work()
      this.#lastRun = performance.now()
    } while (this.#again && !this.#stopped)
    this.#running = undefined
    if (this.#stopped) return
    const wait = Math.min(Math.max(0, due - performance.now()), 60_000)
    this.#timer = setTimeout(() => this.wake(), wait)
  }
}
