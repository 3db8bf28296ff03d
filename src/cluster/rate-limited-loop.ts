import PQueue from 'p-queue'
import { ApiError } from './api-errors.ts'
import { Backoff, type Random } from './backoff.ts'
import { type Clock, sleep, systemClock } from './clock.ts'

export interface RateLimit {
  /** Milliseconds. */
  readonly interval: number
  /** Runs within any interval of that length. */
  readonly most: number
}

export interface LoopOptions {
  /** Brings the world nearer to what is wanted, or finds that it is there. Level-triggered: it looks anew each time. */
  readonly run: (signal: AbortSignal) => Promise<void>
  /** It failed and is tried again after so many milliseconds. */
  readonly onFailure: (error: unknown, waitMs: number) => void
  readonly limit: RateLimit
  readonly clock?: Clock
  readonly random?: Random
}

/**
 * Runs one thing whenever somebody asks: one run at a time, however many ask meanwhile; never more often than the limit;
 * again, later and later, while it fails.
 */
export class RateLimitedLoop {
  readonly #options: LoopOptions
  readonly #queue: PQueue
  readonly #clock: Clock
  readonly #backoff: Backoff
  readonly #stopping = new AbortController()
  #wanted = false
  #loop: Promise<void> | undefined
  /** The queue lets go of an aborted run before that has cleaned up. */
  #running: Promise<void> | undefined

  constructor(options: LoopOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#backoff = new Backoff(this.#clock, options.random ?? Math.random)
    const { interval, most } = options.limit
    this.#queue = new PQueue({ concurrency: 1, interval, intervalCap: most, strict: true })
  }

  /** Asks for a run. */
  kick(): void {
    this.#wanted = true
    if (this.#stopping.signal.aborted) return
    this.#loop ??= this.#work().finally(() => {
      this.#loop = undefined
    })
  }

  /** Ends the run that is under way. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#queue.clear()
    await Promise.allSettled([this.#loop, this.#running])
  }

  async #work(): Promise<void> {
    const { signal } = this.#stopping
    while (this.#wanted && !signal.aborted) {
      this.#wanted = false
      try {
        const run = () => {
          this.#running = this.#options.run(signal)
          return this.#running
        }
        await this.#queue.add(run, { signal })
        this.#backoff.succeeded()
      } catch (error) {
        if (signal.aborted) return
        this.#wanted = true
        const asked = error instanceof ApiError ? (error.retryAfter ?? 0) * 1000 : 0
        const wait = Math.max(asked, this.#backoff.failed())
        this.#options.onFailure(error, wait)
        await sleep(this.#clock, wait, signal)
      }
    }
  }
}
