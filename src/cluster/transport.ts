import type { Agent, ClientRequest, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import {
  ApiError,
  ApiFormatError,
  ApiUnreachableError,
  connectionProblem,
  errorFromStatus,
  isCertificateProblem,
} from './api-errors.ts'
import { type Clock, Watchdog } from './clock.ts'
import type { Credentials } from './credentials.ts'
import { isObject } from './hostile.ts'
import { http, https } from './node-http.ts'

export interface TransportOptions {
  readonly credentials: Credentials
  readonly clock: Clock
  /** Milliseconds for a socket of the pool to be had and connected, TLS included. */
  readonly connectMs: number
  /** A watch keeps its socket, so this bounds the watches and must leave some for requests. */
  readonly sockets: number
}

export interface Outgoing {
  readonly method: 'GET' | 'POST' | 'PATCH'
  /** With the query. */
  readonly path: string
  /** Names the request in errors. */
  readonly what: string
  readonly accept: string
  readonly body: { readonly type: string; readonly bytes: Buffer } | undefined
  readonly signal: AbortSignal | undefined
  /** Milliseconds without a byte after which the server counts as gone. */
  readonly silenceMs: number
}

/** A 2xx answer whose body is yet to be read. */
export interface Exchange {
  readonly response: IncomingMessage
  /** What an error while reading means to the caller. */
  fail(error: unknown): unknown
  /** Must be called once the response has been read, or is not wanted any more. */
  done(): void
}

/** Bytes that a connection holds which nobody reads. */
const HELD = 4_096

/** What of an error answer is read: enough for a Status, not enough to hurt. */
const LARGEST_ERROR = 256 * 1024

/** HTTP to one API server over one pool of keep-alive connections: timeouts, authentication, errors as the caller knows them. */
export class Transport {
  readonly #credentials: Credentials
  readonly #clock: Clock
  readonly #connectMs: number
  readonly #agent: Agent
  readonly #base: string

  constructor({ credentials, clock, connectMs, sockets }: TransportOptions) {
    this.#credentials = credentials
    this.#clock = clock
    this.#connectMs = connectMs
    const { server, proxy } = credentials
    this.#base = server.pathname.replace(/\/+$/, '')
    const pool = {
      keepAlive: true,
      maxSockets: sockets,
      maxFreeSockets: 2,
      // Whoever pauses a connection is woken once by events as long as those of Nodes, and not for each of them.
      highWaterMark: HELD,
      ...(proxy ? { proxyEnv: { HTTP_PROXY: proxy, HTTPS_PROXY: proxy } } : {}),
    }
    this.#agent = server.protocol === 'http:' ? new http.Agent(pool) : new https.Agent(pool)
  }

  get server(): URL {
    return this.#credentials.server
  }

  /** Closes every connection; what is under way fails. */
  close(): void {
    this.#agent.destroy()
  }

  /**
   * Sends, and once more with fresh credentials after a 401 or when a certificate did not hold, or on another connection when a
   * kept one had died.
   * @throws ApiError for any answer but 2xx, ApiUnreachableError, CredentialsError, the signal's reason
   */
  async request(outgoing: Outgoing): Promise<Exchange> {
    let freshSocket = false
    let freshCredentials = false
    for (;;) {
      const attempt = new Attempt(this.#credentials.server, outgoing, this.#clock)
      let sent: Exchange | 'stale-socket'
      try {
        sent = await this.#send(attempt)
      } catch (error) {
        if (freshCredentials || !(error instanceof ApiUnreachableError && isCertificateProblem(error.cause)))
          throw error
        this.#credentials.refused()
        freshCredentials = true
        continue
      }
      if (sent === 'stale-socket') {
        if (freshSocket) throw attempt.fail(new Error('kept connections die one after the other'))
        freshSocket = true
        continue
      }
      const status = sent.response.statusCode ?? 0
      if (status >= 200 && status < 300) return sent
      try {
        const text = await readText(sent.response, LARGEST_ERROR, outgoing.what)
        if (status !== 401 || freshCredentials)
          throw errorFromStatus(outgoing.what, looseJson(text), status, sent.response.headers['retry-after'])
        this.#credentials.refused()
        freshCredentials = true
      } catch (error) {
        throw sent.fail(error)
      } finally {
        sent.done()
      }
    }
  }

  async #send(attempt: Attempt): Promise<Exchange | 'stale-socket'> {
    const { method, path, accept, body, signal } = attempt.outgoing
    signal?.throwIfAborted()
    const { headers, tls } = await this.#credentials.access()
    signal?.throwIfAborted()
    const { server } = this.#credentials
    const plain = server.protocol === 'http:'
    const request = (plain ? http : https).request({
      agent: this.#agent,
      host: server.hostname.replace(/^\[|\]$/g, ''),
      port: server.port || (plain ? 80 : 443),
      method,
      path: this.#base + path,
      headers: {
        accept,
        'user-agent': 'podveil',
        ...(body ? { 'content-type': body.type, 'content-length': body.bytes.length } : {}),
        ...headers,
      },
      ...tls,
    })
    const answer = attempt.follow(request, plain ? 'connect' : 'secureConnect', this.#connectMs)
    request.end(body?.bytes)
    return answer
  }
}

/** One request on the wire, from its first byte to the last of its response. */
class Attempt implements Pick<Exchange, 'fail' | 'done'> {
  readonly outgoing: Outgoing
  readonly #server: URL
  readonly #clock: Clock
  #request: ClientRequest | undefined
  #response: IncomingMessage | undefined
  #silence: Watchdog | undefined
  #abandon: ((error: Error) => void) | undefined
  /** Why we gave up; the error that node:http makes of it says only that the connection was reset. */
  #problem: string | undefined

  constructor(server: URL, outgoing: Outgoing, clock: Clock) {
    this.#server = server
    this.outgoing = outgoing
    this.#clock = clock
  }

  follow(request: ClientRequest, connected: string, connectMs: number): Promise<Exchange | 'stale-socket'> {
    this.#request = request
    const { promise, resolve, reject } = Promise.withResolvers<Exchange | 'stale-socket'>()
    const { signal, method, silenceMs } = this.outgoing
    const cancel = this.#clock.after(connectMs, () => this.#giveUp(`not connected after ${connectMs / 1000} s`))
    signal?.addEventListener('abort', this.#abort, { once: true })
    const touch = () => this.#silence?.touch()
    let socket: Socket | undefined
    const ready = () => {
      cancel()
      this.#silence = new Watchdog(this.#clock, silenceMs, () => this.#giveUp(`silent for ${silenceMs / 1000} s`))
      socket?.on('data', touch)
    }
    request.once('socket', given => {
      socket = given
      if (given.connecting) given.once(connected, ready)
      else ready()
    })
    this.#abandon = error => {
      request.destroy(error)
      // A request that still waits for a socket of the pool says nothing when it is destroyed.
      if (!socket) {
        release()
        reject(this.fail(error))
      }
    }
    const release = () => {
      cancel()
      this.done()
      socket?.off('data', touch).off(connected, ready)
    }
    request.once('close', release)
    request.once('response', response => {
      this.#response = response
      resolve({ response, fail: error => this.fail(error), done: () => this.done() })
    })
    request.on('error', error => {
      release()
      // A server may close an idle connection just when it is used again; then the request never reached it.
      const stale = request.reusedSocket && !this.#response && isObject(error) && error.code === 'ECONNRESET'
      if (stale && method !== 'POST' && !signal?.aborted && !this.#problem) resolve('stale-socket')
      else reject(this.fail(error))
    })
    return promise
  }

  fail(error: unknown): unknown {
    const { signal, what } = this.outgoing
    if (signal?.aborted) return signal.reason
    if (error instanceof ApiError || error instanceof ApiFormatError) return error
    return new ApiUnreachableError(this.#server, what, this.#problem ?? connectionProblem(error), { cause: error })
  }

  done(): void {
    this.#silence?.stop()
    this.outgoing.signal?.removeEventListener('abort', this.#abort)
    // A response that was read to its end has given its socket back; the connection of any other must not be used again.
    if (!this.#response?.complete) this.#request?.destroy()
  }

  readonly #abort = (): void => {
    this.#abandon?.(new Error('aborted'))
  }

  #giveUp(problem: string): void {
    this.#problem = problem
    this.#abandon?.(new Error(problem))
  }
}

/** The whole body. @param largest bytes @throws ApiFormatError when it is longer, and what the stream throws */
export async function readText(response: IncomingMessage, largest: number, what: string): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > largest) throw new ApiFormatError(what, `is larger than ${largest} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function looseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
