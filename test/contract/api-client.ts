import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'

/** How to reach an API server as a user who may do everything. */
export interface Connection {
  readonly url: string
  readonly ca: string
  readonly token: string
  /** Makes the server forget its history, where a test can order that. */
  readonly compact?: () => void | Promise<void>
}

/** Any object of the API, as a test reads it: what is not there fails the expectation that wanted it. */
// biome-ignore lint/suspicious/noExplicitAny: a test asks for fields of every kind of object, and an expectation follows
export type ApiObject = any

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** The body as JSON; undefined where it is none. */
  readonly body: ApiObject
}

export interface RequestOptions {
  readonly body?: unknown
  /** Sent as it is, in place of `body` as JSON. */
  readonly raw?: string
  readonly contentType?: string
  readonly accept?: string
  /** Undefined: the connection's token; '' none. */
  readonly token?: string
}

export interface WatchEvent {
  readonly type: string
  readonly object: ApiObject
}

export const MERGE = 'application/merge-patch+json'
export const JSON_PATCH = 'application/json-patch+json'
export const STRATEGIC = 'application/strategic-merge-patch+json'
export const APPLY = 'application/apply-patch+yaml'
export const PARTIAL = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1'
export const PARTIAL_LIST = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'
export const TABLE = 'application/json;as=Table;g=meta.k8s.io;v=v1'

/** As small a client as a contract can be told with: requests as they are written, answers as they come. */
export class ApiClient implements Disposable {
  readonly connection: Connection
  readonly #agent: Agent

  constructor(connection: Connection) {
    this.connection = connection
    this.#agent = new Agent({ ca: connection.ca, keepAlive: true })
  }

  async send(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    const response = await this.#open(method, path, options)
    const body = await text(response)
    return { status: response.statusCode ?? 0, headers: response.headers, text: body, body: parsed(body) }
  }

  get(path: string, options?: RequestOptions): Promise<Answer> {
    return this.send('GET', path, options)
  }

  post(path: string, body: unknown, options?: RequestOptions): Promise<Answer> {
    return this.send('POST', path, { ...options, body })
  }

  put(path: string, body: unknown, options?: RequestOptions): Promise<Answer> {
    return this.send('PUT', path, { ...options, body })
  }

  patch(path: string, body: unknown, contentType: string = MERGE): Promise<Answer> {
    return this.send('PATCH', path, { body, contentType })
  }

  delete(path: string, body?: unknown): Promise<Answer> {
    return this.send('DELETE', path, body === undefined ? {} : { body })
  }

  /** Opens a watch; dispose of it to end it. Throws where the answer is not 200. */
  async watch(path: string, options: RequestOptions = {}): Promise<WatchStream> {
    const response = await this.#open('GET', path, options)
    if (response.statusCode === 200) return new WatchStream(response)
    throw new Error(`watch ${path}: ${response.statusCode} ${await text(response)}`)
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }

  #open(method: string, path: string, options: RequestOptions): Promise<IncomingMessage> {
    const { body, accept = 'application/json', token = this.connection.token } = options
    const payload = options.raw ?? (body === undefined ? undefined : JSON.stringify(body))
    const headers = {
      Accept: accept,
      ...(token !== '' && { Authorization: `Bearer ${token}` }),
      ...(payload !== undefined && {
        'Content-Type': options.contentType ?? 'application/json',
        'Content-Length': Buffer.byteLength(payload),
      }),
    }
    return new Promise((resolve, reject) => {
      const sent = request(new URL(path, this.connection.url), { method, headers, agent: this.#agent }, resolve)
      sent.on('error', reject)
      sent.end(payload)
    })
  }
}

/** The events of a watch, in the order in which they came. */
export class WatchStream implements Disposable {
  readonly headers: IncomingHttpHeaders
  readonly #response: IncomingMessage
  readonly #lines: AsyncIterator<string>

  constructor(response: IncomingMessage) {
    this.headers = response.headers
    this.#response = response
    this.#lines = createInterface({ input: response })[Symbol.asyncIterator]()
  }

  /** The next event, or undefined where the stream has ended. Throws when none comes within the time. */
  async next(limitMs = 20_000): Promise<WatchEvent | undefined> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no event came within ${limitMs} ms`)), limitMs)
    })
    try {
      const { value, done } = await Promise.race([this.#lines.next(), late])
      return done === true ? undefined : (JSON.parse(value) as WatchEvent)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Events until one passes the test, that one included. Throws where the stream ends before. */
  async until(test: (event: WatchEvent) => boolean): Promise<readonly WatchEvent[]> {
    const events: WatchEvent[] = []
    for (;;) {
      const event = await this.next()
      if (event === undefined)
        throw new Error(`the watch ended after ${JSON.stringify(events.map(({ type }) => type))}`)
      events.push(event)
      if (test(event)) return events
    }
  }

  [Symbol.dispose](): void {
    this.#response.destroy()
  }
}

function parsed(body: string): ApiObject {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
