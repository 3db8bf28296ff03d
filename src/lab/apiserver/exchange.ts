import type { IncomingMessage, ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { JsonObject } from './json.ts'
import type { Load } from './load-meter.ts'
import { type ApiError, tooLarge } from './status.ts'

/** Who asks, as authentication found. */
export interface User {
  readonly name: string
  readonly uid: string
  readonly groups: readonly string[]
}

/** The real server takes no larger body. */
const BODY_LIMIT = 3 * 1024 * 1024
/** The real server compresses from here on, for a client that accepts it. */
const GZIP_FROM = 128 * 1024

/** Never asked for: a URL has to have a host. */
const BASE = 'https://lab.invalid'

const compress = promisify(gzip)

/** One request and its answer. */
export class Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly url: URL
  /** Where this exchange is counted, once it is known what it is. */
  load: Load | undefined

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.request = request
    this.response = response
    // What is no path (`//`) is nowhere, and answered so.
    this.url = URL.parse(request.url ?? '/', BASE) ?? new URL('/no-such-path', BASE)
  }

  get method(): string {
    return this.request.method ?? 'GET'
  }

  header(name: string): string {
    const value = this.request.headers[name]
    return typeof value === 'string' ? value : ''
  }

  /** The whole body as text. Throws 413. */
  async body(): Promise<string> {
    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of this.request as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > BODY_LIMIT) throw tooLarge(BODY_LIMIT)
      chunks.push(chunk)
    }
    if (this.load !== undefined) this.load.bytesIn += length
    return Buffer.concat(chunks).toString()
  }

  async send(code: number, text: string, contentType = 'application/json'): Promise<void> {
    const { response } = this
    if (response.headersSent || response.destroyed) return
    let body = Buffer.from(text)
    if (body.length > GZIP_FROM && this.header('accept-encoding').includes('gzip')) {
      body = await compress(body, { level: 1 })
      response.setHeader('Content-Encoding', 'gzip')
    }
    if (this.load !== undefined) this.load.bytesOut += body.length
    response.writeHead(code, { 'Content-Type': contentType, 'Content-Length': body.length })
    response.end(body)
  }

  async sendJson(code: number, value: JsonObject): Promise<void> {
    await this.send(code, `${JSON.stringify(value)}\n`)
  }

  async sendError(error: ApiError): Promise<void> {
    const { retryAfterSeconds } = error.details
    if (retryAfterSeconds !== undefined) this.response.setHeader('Retry-After', retryAfterSeconds)
    if (error.code === 413) this.response.setHeader('Connection', 'close')
    await this.sendJson(error.code, error.status)
  }

  /** A note beside the answer, which kubectl prints. */
  warn(text: string): void {
    const quoted = text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')
    this.response.appendHeader('Warning', `299 - "${quoted}"`)
  }

  /** Begins an answer of many lines of JSON. */
  beginStream(): void {
    this.response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-cache, private' })
    this.response.flushHeaders()
    this.request.socket.setNoDelay(true)
  }

  /** Writes to the stream; false when the client is slow. */
  writeStream(text: string, events: number): boolean {
    if (this.load !== undefined) {
      this.load.bytesOut += Buffer.byteLength(text)
      this.load.events += events
    }
    return this.response.write(text)
  }
}
