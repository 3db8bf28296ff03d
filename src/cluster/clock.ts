/** Time as this code sees it, so that a test can hold it. */
export interface Clock {
  /** Milliseconds that never go backwards; the origin means nothing. */
  now(): number
  /** Unix time in milliseconds, for what is shown to people. */
  wall(): number
  /** Calls back once after `ms` milliseconds. @returns cancels; calling it late or twice is fine */
  after(ms: number, callback: () => void): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms)
    return () => clearTimeout(timer)
  },
}

/** Resolves after `ms` milliseconds, or at once when the signal aborts: the caller looks at the signal. */
export function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  const { promise, resolve } = Promise.withResolvers<void>()
  const finish = () => {
    cancel()
    signal.removeEventListener('abort', finish)
    resolve()
  }
  const cancel = clock.after(ms, finish)
  signal.addEventListener('abort', finish, { once: true })
  return promise
}

/**
 * Calls back when nobody has touched it for `ms` milliseconds. Touching only notes the time, so that it can be done for
 * every chunk of a busy stream.
 */
export class Watchdog {
  readonly #clock: Clock
  readonly #ms: number
  readonly #onSilence: () => void
  #last: number
  #cancel: () => void

  constructor(clock: Clock, ms: number, onSilence: () => void) {
    this.#clock = clock
    this.#ms = ms
    this.#onSilence = onSilence
    this.#last = clock.now()
    this.#cancel = clock.after(ms, () => this.#check())
  }

  touch(): void {
    this.#last = this.#clock.now()
  }

  stop(): void {
    this.#cancel()
  }

  #check(): void {
    const left = this.#last + this.#ms - this.#clock.now()
    if (left > 0) this.#cancel = this.#clock.after(left, () => this.#check())
    else this.#onSilence()
  }
}
