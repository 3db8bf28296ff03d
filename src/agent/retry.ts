import type { Logger } from '#src/cluster/logger.ts'

/** Milliseconds before something that failed is tried again: at first, and at most. */
const FIRST = 500
const LONGEST = 30_000

/** Spaces out attempts at something that fails, and says each new reason once. */
export class Retry {
  readonly #log: Logger
  #failures = 0
  #said: string | undefined
  #until = 0

  constructor(log: Logger) {
    this.#log = log
  }

  /** Milliseconds of performance.now() before which another attempt is pointless. */
  get waitsUntil(): number {
    return this.#until
  }

  /** @returns milliseconds to wait */
  failed(reason: string): number {
    const wait = Math.min(LONGEST, FIRST * 2 ** this.#failures++)
    if (reason !== this.#said)
      this.#log.error({ event: 'pass-failed', failures: this.#failures }, `${reason}; trying again`)
    this.#said = reason
    this.#until = performance.now() + wait
    return wait
  }

  succeeded(): void {
    if (this.#said !== undefined)
      this.#log.info({ event: 'pass-works-again', after: this.#failures }, `works again: ${this.#said}`)
    this.#failures = 0
    this.#said = undefined
    this.#until = 0
  }
}
