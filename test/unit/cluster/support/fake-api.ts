import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Credentials } from '#src/cluster/credentials.ts'

export interface FakeObject {
  readonly metadata: { readonly name: string; readonly resourceVersion: string; readonly [key: string]: unknown }
  readonly [key: string]: unknown
}

interface Event {
  readonly type: string
  readonly object: FakeObject
  readonly version: number
}

interface Watcher {
  readonly response: ServerResponse
  readonly query: URLSearchParams
}

export interface Seen {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  readonly body: unknown
}

/** Answers instead of the server when it returns true. */
export type Fault = (request: Seen, response: ServerResponse) => boolean

/**
 * One collection of an API server over plain HTTP, with its list, watch and patch, and with faults at will. Only what
 * the client under test relies on, as the Kubernetes documentation has it.
 */
export class FakeApi {
  readonly path: string
  readonly objects = new Map<string, FakeObject>()
  readonly seen: Seen[] = []
  /** Consulted in order; one that answers is used up unless it is also in `lasting`. */
  readonly faults: Fault[] = []
  /** Answers every request while it is set. */
  lasting: Fault | undefined
  streamsLists = true
  #version = 100
  #compacted = 0
  #log: Event[] = []
  readonly #watchers = new Set<Watcher>()
  readonly #sockets = new Set<Socket>()
  #server: Server | undefined
  #port = 0

  constructor(path = '/api/v1/nodes') {
    this.path = path
  }

  static async start(path?: string): Promise<FakeApi> {
    const api = new FakeApi(path)
    await api.listen()
    return api
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get credentials(): Credentials {
    return {
      server: new URL(`http://127.0.0.1:${this.#port}`),
      proxy: undefined,
      access: async () => ({ headers: { authorization: 'Bearer t' }, tls: {} }),
      refused() {},
    }
  }

  get watchers(): number {
    return this.#watchers.size
  }

  get connections(): number {
    return this.#sockets.size
  }

  /** Requests that match, by what is in their query. */
  count(matches: (seen: Seen) => boolean): number {
    return this.seen.filter(matches).length
  }

  /** Takes up again on the port it had. */
  async listen(): Promise<void> {
    const server = createServer((request, response) => void this.#handle(request, response))
    server.keepAliveTimeout = 60_000
    server.on('connection', socket => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject)
    server.listen(this.#port, '127.0.0.1', resolve)
    await promise
    this.#port = (server.address() as AddressInfo).port
    this.#server = server
  }

  /** As when its process dies: every connection is reset. */
  async close(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    if (!server) return
    const { promise, resolve } = Promise.withResolvers<void>()
    server.close(() => resolve())
    this.disconnect()
    await promise
    this.#watchers.clear()
  }

  disconnect(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** Ends every watch in good order. */
  endWatches(): void {
    for (const { response } of this.#watchers) response.end()
    this.#watchers.clear()
  }

  /** Forgets events, so that a watch from before gets 410. */
  compact(): void {
    this.#compacted = this.#version
    this.#log = []
  }

  /** Writes to every watch as it is, a line's end included. */
  write(text: string): void {
    for (const { response } of this.#watchers) response.write(text)
  }

  send(event: unknown): void {
    this.write(`${JSON.stringify(event)}\n`)
  }

  put(name: string, fields: Readonly<Record<string, unknown>> = {}, quietly = false): void {
    const known = this.objects.get(name)
    const metadata = { ...(fields.metadata as object | undefined), name, resourceVersion: String(++this.#version) }
    const object: FakeObject = { ...fields, metadata }
    this.objects.set(name, object)
    this.#emit({ type: known ? 'MODIFIED' : 'ADDED', object, version: this.#version }, quietly)
  }

  delete(name: string, quietly = false): void {
    const known = this.objects.get(name)
    if (!known) return
    this.objects.delete(name)
    const object = { ...known, metadata: { ...known.metadata, resourceVersion: String(++this.#version) } }
    this.#emit({ type: 'DELETED', object, version: this.#version }, quietly)
  }

  bookmark(): void {
    this.send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(this.#version) } } })
  }

  #emit(event: Event, quietly: boolean): void {
    this.#log.push(event)
    if (!quietly) this.send({ type: event.type, object: event.object })
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://fake')
    const chunks: Buffer[] = []
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    } catch {
      return
    }
    const text = Buffer.concat(chunks).toString()
    const seen: Seen = {
      method: request.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: text === '' ? undefined : JSON.parse(text),
    }
    this.seen.push(seen)
    response.setHeader('content-type', 'application/json')
    if (this.lasting?.(seen, response)) return
    if (this.faults[0]?.(seen, response)) {
      this.faults.shift()
      return
    }
    if (seen.path === this.path && seen.method === 'GET')
      return seen.query.get('watch') === 'true' ? this.#watch(seen, response) : this.#list(seen, response)
    const name = decodeURIComponent(seen.path.slice(this.path.length + 1)).replace(/\/status$/, '')
    const object = this.objects.get(name)
    if (!object) return status(response, 404, 'NotFound', `"${name}" not found`)
    if (seen.method === 'PATCH') this.put(name, mergePatch(object, seen.body) as Record<string, unknown>)
    response.end(JSON.stringify(this.objects.get(name)))
  }

  #list(seen: Seen, response: ServerResponse): void {
    const start = Number(seen.query.get('continue') ?? 0)
    const limit = Number(seen.query.get('limit') ?? 1e9)
    const all = [...this.objects.values()]
    const items = all.slice(start, start + limit)
    const next = start + limit < all.length ? String(start + limit) : undefined
    response.end(JSON.stringify({ metadata: { resourceVersion: String(this.#version), continue: next }, items }))
  }

  #watch(seen: Seen, response: ServerResponse): void {
    const streaming = seen.query.get('sendInitialEvents') === 'true'
    if (streaming && !this.streamsLists) {
      status(response, 422, 'Invalid', 'sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch')
      return
    }
    const from = Number(seen.query.get('resourceVersion') ?? 0)
    if (!streaming && from < this.#compacted) {
      status(response, 410, 'Expired', 'too old resource version')
      return
    }
    response.writeHead(200)
    response.flushHeaders()
    const line = (event: unknown) => response.write(`${JSON.stringify(event)}\n`)
    if (streaming) {
      for (const object of this.objects.values()) line({ type: 'ADDED', object })
      const annotations = { 'k8s.io/initial-events-end': 'true' }
      line({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(this.#version), annotations } } })
    } else for (const event of this.#log) if (event.version > from) line({ type: event.type, object: event.object })
    const watcher = { response, query: seen.query }
    this.#watchers.add(watcher)
    response.once('close', () => this.#watchers.delete(watcher))
  }
}

/** Answers with a Status object. */
export function status(
  response: ServerResponse,
  code: number,
  reason: string,
  message: string,
  retryAfter?: number,
): void {
  if (retryAfter !== undefined) response.setHeader('retry-after', String(retryAfter))
  response.statusCode = code
  response.end(JSON.stringify({ kind: 'Status', status: 'Failure', code, reason, message }))
}

/** RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const result: Record<string, unknown> = { ...(typeof target === 'object' && target !== null ? target : {}) }
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = mergePatch(result[key], value)
  }
  return result
}
