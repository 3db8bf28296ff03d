import type { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { ApiFormatError } from './api-errors.ts'
import { type Clock, systemClock } from './clock.ts'
import type { Credentials } from './credentials.ts'
import { listOf, member, objectOf, textOf } from './hostile.ts'
import { LineSplitter, LineTooLongError } from './line-splitter.ts'
import { type Outgoing, readText, Transport } from './transport.ts'

export interface ApiClientOptions {
  readonly credentials: Credentials
  readonly clock?: Clock
  /** Milliseconds for a connection, TLS included. Default 10 s. */
  readonly connectMs?: number
  /** Milliseconds without a byte after which a request is given up. Default 30 s. */
  readonly silenceMs?: number
  /** Bytes of one answer. Default 64 MiB: a page of 500 Nodes with 100 KB each is within. */
  readonly largestAnswer?: number
  /** Bytes of one watch event. Default 8 MiB: etcd holds at most 1.5 MB of an object, and its JSON is larger. */
  readonly longestLine?: number
  /** Connections in all. Default 16: a watch keeps one for itself, and some must be left for requests. */
  readonly sockets?: number
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>

export interface RequestOptions {
  readonly query?: Query
  /** Media type to ask for, where plain JSON is not what is wanted. */
  readonly accept?: string
  readonly signal?: AbortSignal
}

export interface ListOptions extends RequestOptions {
  /** Items of a page. Default 500. */
  readonly limit?: number
  /** Called with the size of every page. */
  readonly onBytes?: (bytes: number) => void
}

export interface WriteOptions extends RequestOptions {
  /** Name under which managedFields records the write. */
  readonly fieldManager?: string
}

export interface StreamOptions extends RequestOptions {
  /** Milliseconds without a byte after which the stream counts as dead. Default: that of the client. */
  readonly silenceMs?: number
  /** Called with the size of every chunk. */
  readonly onBytes?: (bytes: number) => void
  /**
   * Called whenever all that has come was taken, with the bytes of it since it was called last. Until what it returns resolves
   * nothing more is taken, and no more is read than a connection holds: what the server goes on to send waits in the system, and
   * wakes nobody.
   */
  readonly between?: (bytes: number) => Promise<void> | undefined
}

/** One page of a list: its items, and the resourceVersion that the whole list is of. */
export interface ListPage {
  readonly items: readonly unknown[]
  readonly resourceVersion: string
}

/** Turns of the event loop without a byte after which nothing more has come: in the first one nothing may have been read yet. */
const TURNS = 3

/** A list of half a million objects is no list of a cluster's; a server that never stops must not fill the memory. */
const MOST_PAGES = 1_000

/**
 * The Kubernetes REST API. Paths are absolute (`/api/v1/nodes`). Every method throws ApiError when the server says no,
 * ApiUnreachableError when there is no whole answer, ApiFormatError when it is not JSON or too large, CredentialsError
 * when there is nothing to authenticate with, and the signal's reason when aborted.
 */
export class ApiClient {
  readonly #transport: Transport
  readonly #silenceMs: number
  readonly #largestAnswer: number
  readonly #longestLine: number

  constructor(options: ApiClientOptions) {
    this.#silenceMs = options.silenceMs ?? 30_000
    this.#largestAnswer = options.largestAnswer ?? 64 * 1024 * 1024
    this.#longestLine = options.longestLine ?? 8 * 1024 * 1024
    this.#transport = new Transport({
      credentials: options.credentials,
      clock: options.clock ?? systemClock,
      connectMs: options.connectMs ?? 10_000,
      sockets: options.sockets ?? 16,
    })
  }

  get server(): URL {
    return this.#transport.server
  }

  /** One object, as the server sent it. */
  get(path: string, options: RequestOptions = {}): Promise<unknown> {
    return this.#json(this.#outgoing('GET', path, options))
  }

  /** The pages of a list, all of one resourceVersion. */
  async *list(path: string, options: ListOptions = {}): AsyncGenerator<ListPage> {
    let token: string | undefined
    for (let pages = 0; pages === 0 || token !== undefined; pages++) {
      const query = { limit: options.limit ?? 500, ...options.query, continue: token }
      const outgoing = this.#outgoing('GET', path, { ...options, query })
      if (pages === MOST_PAGES) throw new ApiFormatError(outgoing.what, `has more than ${MOST_PAGES} pages`)
      const answer = objectOf(await this.#json(outgoing, options.onBytes))
      const metadata = objectOf(member(answer, 'metadata'))
      const resourceVersion = textOf(member(metadata, 'resourceVersion'), 256)
      // Go writes an empty slice as null.
      const items = member(answer, 'items') ?? []
      if (!Array.isArray(items) || resourceVersion === undefined)
        throw new ApiFormatError(outgoing.what, 'is not a list')
      yield { items: listOf(items), resourceVersion }
      token = textOf(member(metadata, 'continue'), 64 * 1024) || undefined
    }
  }

  /** POST. @returns the object as it was created */
  create(path: string, object: unknown, options: WriteOptions = {}): Promise<unknown> {
    return this.#json(this.#outgoing('POST', path, managed(options), 'application/json', object))
  }

  /** JSON merge patch (RFC 7386): null removes a member. @returns the object after it */
  mergePatch(path: string, patch: unknown, options: WriteOptions = {}): Promise<unknown> {
    return this.#json(this.#outgoing('PATCH', path, managed(options), 'application/merge-patch+json', patch))
  }

  /** Strategic merge patch: lists with a merge key, as a Node's conditions, are merged by it. @returns the object after it */
  strategicMergePatch(path: string, patch: unknown, options: WriteOptions = {}): Promise<unknown> {
    return this.#json(this.#outgoing('PATCH', path, managed(options), 'application/strategic-merge-patch+json', patch))
  }

  /** GET of a stream of JSON documents, one a line; ends when the server ends it. Leaving the loop closes the connection. */
  async *stream(path: string, options: StreamOptions = {}): AsyncGenerator<unknown> {
    const outgoing = { ...this.#outgoing('GET', path, options), silenceMs: options.silenceMs ?? this.#silenceMs }
    const exchange = await this.#transport.request(outgoing)
    const lines = new LineSplitter(this.#longestLine)
    const { response } = exchange
    let bytes = 0
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        options.onBytes?.(chunk.length)
        bytes += chunk.length
        for (const line of lines.push(chunk)) yield parseJson(line.toString('utf8'), outgoing.what)
        if (!options.between || lines.pending) continue
        // What has come is read in pieces, and for each of them the loop has its turn.
        for (let turns = 0; turns < TURNS && response.readableLength === 0; turns++) await turn()
        if (response.readableLength > 0 || response.complete) continue
        const rest = options.between(bytes)
        bytes = 0
        if (rest) await paused(response.socket, rest)
      }
      if (lines.pending) throw new ApiFormatError(outgoing.what, 'ends in the middle of a line')
    } catch (error) {
      throw error instanceof LineTooLongError
        ? new ApiFormatError(outgoing.what, `is broken: ${error.message}`)
        : exchange.fail(error)
    } finally {
      exchange.done()
    }
  }

  /** Closes every connection; what is under way fails. */
  close(): void {
    this.#transport.close()
  }

  async #json(outgoing: Outgoing, onBytes?: (bytes: number) => void): Promise<unknown> {
    const exchange = await this.#transport.request(outgoing)
    try {
      const text = await readText(exchange.response, this.#largestAnswer, outgoing.what)
      onBytes?.(text.length)
      return parseJson(text, outgoing.what)
    } catch (error) {
      throw exchange.fail(error)
    } finally {
      exchange.done()
    }
  }

  #outgoing(
    method: Outgoing['method'],
    path: string,
    { query, accept, signal }: RequestOptions,
    type?: string,
    json?: unknown,
  ): Outgoing {
    return {
      method,
      path: path + queryText(query),
      what: `${method} ${path}`,
      accept: accept ?? 'application/json',
      body: type === undefined ? undefined : { type, bytes: Buffer.from(JSON.stringify(json)) },
      signal,
      silenceMs: this.#silenceMs,
    }
  }
}

/** Reads nothing of a connection until something is over. @param socket null once the response is whole */
async function paused(socket: Pick<Socket, 'pause' | 'resume'> | null, rest: Promise<void>): Promise<void> {
  socket?.pause()
  try {
    await rest
  } finally {
    socket?.resume()
  }
}

const managed = ({ fieldManager, ...options }: WriteOptions): RequestOptions => ({
  ...options,
  query: { ...options.query, fieldManager },
})

function queryText(query: Query = {}): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value))
  const text = parameters.toString()
  return text === '' ? '' : `?${text}`
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new ApiFormatError(what, 'is not JSON', { cause: error })
  }
}
