import { constants } from 'node:os'
import { parseOutcome } from './acknowledgement.ts'
import { NetlinkError } from './errors.ts'
import {
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
  NLMSG_OVERRUN,
} from './message.ts'

/** What is being tried, in words, for the error: `delete link wg0`. For many at once, the words for each. */
export type Operation = string | ((index: number) => string)

/**
 * Requests that were sent as one datagram, and what has come back for them. It always finishes, by the kernel's answer, a
 * failure or silence, and never rejects: each request has a result of its own.
 */
export class Exchange {
  readonly requests: readonly NetlinkRequest[]
  readonly isDump: boolean
  /** What the kernel sent, without acknowledgements. */
  readonly messages: NetlinkMessage[] = []
  /** The error of each request, undefined where it was acknowledged. */
  readonly results: (NetlinkError | undefined)[]
  readonly finished: Promise<void>
  /** A dump whose messages do not show one moment: what it read changed, or part of it was lost. */
  interrupted = false

  readonly #operation: Operation
  readonly #pending: Set<number>
  readonly #silence: NodeJS.Timeout
  readonly #finish: () => void

  /** @param timeout milliseconds without a word from the kernel */
  constructor(requests: readonly NetlinkRequest[], operation: Operation, isDump: boolean, timeout: number) {
    this.requests = requests
    this.#operation = operation
    this.isDump = isDump
    this.results = Array.from(requests, () => undefined)
    this.#pending = new Set(requests.keys())
    const { promise, resolve } = Promise.withResolvers<void>()
    this.finished = promise
    this.#finish = resolve
    this.#silence = setTimeout(() => this.fail(constants.errno.ETIMEDOUT), timeout)
  }

  get isFinished(): boolean {
    return this.#pending.size === 0
  }

  /** @param index which request this answers @throws NetlinkFormatError */
  accept(index: number, message: NetlinkMessage): void {
    const request = this.requests[index]
    if (request === undefined || !this.#pending.has(index)) return
    this.#silence.refresh()
    // Any message of a dump may carry the mark, and often just one does.
    if (message.flags & NLM_F_DUMP_INTR) this.interrupted = true
    if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
      const { errno, extack } = parseOutcome(message, request)
      this.#settle(index, errno === 0 ? undefined : new NetlinkError(this.#words(index), errno, extack))
    } else if (message.type === NLMSG_OVERRUN) {
      this.lose()
    } else if (message.type !== NLMSG_NOOP) {
      this.messages.push(message)
    }
  }

  /**
   * Answers were lost. Acknowledgements will not come again; a dump still runs to its end, for the kernel holds it back
   * while there is no room, and is then worth nothing.
   */
  lose(): void {
    if (this.isDump) this.interrupted = true
    else this.fail(constants.errno.ENOBUFS)
  }

  /** Ends every request that has no result yet. */
  fail(errno: number, cause?: unknown): void {
    for (const index of this.#pending)
      this.#settle(index, new NetlinkError(this.#words(index), errno, {}, cause === undefined ? undefined : { cause }))
  }

  #words(index: number): string {
    return typeof this.#operation === 'string' ? this.#operation : this.#operation(index)
  }

  #settle(index: number, error: NetlinkError | undefined): void {
    this.results[index] = error
    this.#pending.delete(index)
    if (this.#pending.size > 0) return
    clearTimeout(this.#silence)
    this.#finish()
  }
}
