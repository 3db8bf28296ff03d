import { constants } from 'node:os'
import { NetlinkError } from './errors.ts'
import { Exchange, type Operation } from './exchange.ts'
import {
  decodeMessages,
  encodeMessage,
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
} from './message.ts'
import { type NetlinkSocket, type NetlinkSocketOptions, openNetlinkSocket } from './socket.ts'

export interface ConnectionOptions {
  /** Milliseconds without an answer before a request fails with ETIMEDOUT. */
  readonly timeout?: number
  /** How often a dump is made in all while it keeps being interrupted. */
  readonly dumpAttempts?: number
}

/**
 * The kernel does the work of a request inside of send(2), so a send blocks the event loop: 0.5 ms for 200 routes, and
 * larger batches win next to nothing.
 */
const BATCH_MESSAGES = 200
/** Below the default net.core.wmem_max, so that it fits also where the send buffer could not be forced. */
const BATCH_BYTES = 128 * 1024

const TIMEOUT = 10_000
const DUMP_ATTEMPTS = 10
const LAST_SEQUENCE = 0xffff_ffff

/**
 * Requests and replies over one netlink socket. Any number may be under way at a time; dumps wait for each other, for the
 * kernel makes one at a time on a socket. It keeps the process alive only while it waits for an answer.
 *
 * An AbortSignal stops the waiting, not the kernel: what has been sent may still be done.
 */
export class Connection implements Disposable {
  readonly #socket: NetlinkSocket
  readonly #timeout: number
  readonly #dumpAttempts: number
  readonly #outstanding = new Map<number, { exchange: Exchange; index: number }>()
  #nextSequence = 1
  #lastDump: Promise<void> = Promise.resolve()
  #closed = false

  constructor(socket: NetlinkSocket, { timeout = TIMEOUT, dumpAttempts = DUMP_ATTEMPTS }: ConnectionOptions = {}) {
    this.#socket = socket
    this.#timeout = timeout
    this.#dumpAttempts = dumpAttempts
    socket.start({
      datagram: (bytes, port) => this.#receive(bytes, port),
      overrun: () => this.#overrun(),
    })
    socket.unref()
  }

  /**
   * @param protocol NETLINK_ROUTE, NETLINK_GENERIC
   * @throws SocketError, NativeAddonError
   */
  static open(protocol: number, options: NetlinkSocketOptions & ConnectionOptions = {}): Connection {
    return new Connection(openNetlinkSocket(protocol, options), options)
  }

  /** A connection to another network namespace: `/run/netns/name`, `/proc/123/ns/net`. @throws SocketError, NativeAddonError */
  static openIn(netnsPath: string, protocol: number, options: ConnectionOptions = {}): Connection {
    return Connection.open(protocol, { ...options, netnsPath })
  }

  /**
   * Sends a request and waits until the kernel has done it.
   * @param operation what is being tried, in words, for the error: `delete link wg0`
   * @throws NetlinkError; the signal's reason
   */
  async request(request: NetlinkRequest, operation: string, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const exchange = this.#exchange([request], operation)
    await settled(exchange, signal)
    throwFirstError(exchange)
  }

  /** Asks for one object. @throws NetlinkError; the signal's reason */
  async get(request: NetlinkRequest, operation: string, signal?: AbortSignal): Promise<NetlinkMessage> {
    signal?.throwIfAborted()
    const exchange = this.#exchange([request], operation)
    await settled(exchange, signal)
    throwFirstError(exchange)
    const [message] = exchange.messages
    if (message === undefined) throw new NetlinkError(operation, constants.errno.ENODATA)
    return message
  }

  /**
   * Reads a whole table as it was at one moment: a dump that the kernel says was interrupted is made again.
   * @returns messages that stay valid
   * @throws NetlinkError, EINTR when it kept being interrupted; the signal's reason
   */
  async dump(request: NetlinkRequest, operation: string, signal?: AbortSignal): Promise<NetlinkMessage[]> {
    const previous = this.#lastDump
    const turn = Promise.withResolvers<void>()
    this.#lastDump = turn.promise
    let exchange: Exchange | undefined
    try {
      await orAborted(previous, signal)
      for (let attempt = 0; attempt < this.#dumpAttempts; attempt++) {
        exchange = this.#exchange([request], operation, NLM_F_DUMP)
        await settled(exchange, signal)
        throwFirstError(exchange)
        if (!exchange.interrupted) return exchange.messages
      }
      throw new NetlinkError(operation, constants.errno.EINTR)
    } finally {
      // Also where the caller has stopped waiting, the next dump starts when the kernel is through with this one.
      void Promise.all([previous, exchange?.finished]).then(() => turn.resolve())
    }
  }

  /**
   * Sends many requests, some 200 at a time, with the event loop let in between. One that fails does not stop the others.
   * @param requests taken one chunk at a time, so that a generator spreads the encoding as well
   * @param operation for all of them, or the words for the one at an index
   * @returns the error of each request, undefined where it was done
   * @throws the signal's reason
   */
  async batch(
    requests: Iterable<NetlinkRequest>,
    operation: Operation,
    signal?: AbortSignal,
  ): Promise<(NetlinkError | undefined)[]> {
    const results: (NetlinkError | undefined)[] = []
    for (const chunk of chunks(requests)) {
      signal?.throwIfAborted()
      const done = results.length
      const words = typeof operation === 'string' ? operation : (index: number): string => operation(done + index)
      const exchange = this.#exchange(chunk, words)
      await settled(exchange, signal)
      results.push(...exchange.results)
    }
    return results
  }

  /** Fails what is outstanding with ECANCELED. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.close()
    this.#failAll(constants.errno.ECANCELED)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #exchange(requests: readonly NetlinkRequest[], operation: Operation, flags = NLM_F_ACK): Exchange {
    const exchange = new Exchange(requests, operation, flags === NLM_F_DUMP, this.#timeout)
    if (this.#closed) {
      exchange.fail(constants.errno.ECANCELED)
      return exchange
    }
    const first = this.#sequences(requests.length)
    const messages = requests.map((request, index) => {
      this.#outstanding.set(first + index, { exchange, index })
      return encodeMessage({ ...request, flags: request.flags | NLM_F_REQUEST | flags }, first + index)
    })
    void exchange.finished.then(() => {
      for (const index of requests.keys()) this.#outstanding.delete(first + index)
    })
    const sent = this.#socket.send(messages.length === 1 && messages[0] ? messages[0] : Buffer.concat(messages))
    if (sent < 0) exchange.fail(-sent)
    return exchange
  }

  /** Takes that many consecutive sequence numbers. 0 is never one: it is what the kernel puts on notifications. */
  #sequences(count: number): number {
    if (this.#nextSequence + count > LAST_SEQUENCE) this.#nextSequence = 1
    const first = this.#nextSequence
    this.#nextSequence += count
    return first
  }

  #receive(bytes: Uint8Array, port: number): void {
    // Any process may send to our port; only the kernel answers from port 0.
    if (port !== 0) return
    try {
      // Copied, because what a dump returns outlives the socket's slab.
      for (const message of decodeMessages(bytes.slice())) {
        const entry = this.#outstanding.get(message.sequence)
        entry?.exchange.accept(entry.index, message)
      }
    } catch (error) {
      this.#failAll(constants.errno.EBADMSG, error)
    }
  }

  #overrun(): void {
    for (const { exchange } of this.#outstanding.values()) exchange.lose()
  }

  #failAll(errno: number, cause?: unknown): void {
    for (const { exchange } of this.#outstanding.values()) exchange.fail(errno, cause)
  }
}

function* chunks(requests: Iterable<NetlinkRequest>): Generator<NetlinkRequest[]> {
  let chunk: NetlinkRequest[] = []
  let bytes = 0
  for (const request of requests) {
    if (chunk.length === BATCH_MESSAGES || (chunk.length > 0 && bytes + request.payload.length > BATCH_BYTES)) {
      yield chunk
      chunk = []
      bytes = 0
    }
    chunk.push(request)
    bytes += request.payload.length
  }
  if (chunk.length > 0) yield chunk
}

const settled = (exchange: Exchange, signal: AbortSignal | undefined): Promise<void> =>
  orAborted(exchange.finished, signal)

function throwFirstError({ results: [error] }: Exchange): void {
  if (error !== undefined) throw error
}

/** Waits, but no longer than until the signal; the listener does not outlive the waiting. */
async function orAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return promise
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const abort = (): void => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  try {
    await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
