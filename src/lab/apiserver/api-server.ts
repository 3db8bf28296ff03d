import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { Socket } from 'node:net'
import { certificatesFor } from './certificates.ts'
import { Exchange, type User } from './exchange.ts'
import { Faults } from './faults.ts'
import { Journal } from './journal.ts'
import type { JsonObject } from './json.ts'
import { type Address, Listeners } from './listeners.ts'
import { type Load, LoadMeter } from './load-meter.ts'
import { ObjectRequests, verbOf } from './object-requests.ts'
import { Registry } from './registry.ts'
import { pathTemplate, targetOf } from './request-path.ts'
import { isPublic, Router } from './router.ts'
import { seed } from './seed.ts'
import { ApiError, unauthorized } from './status.ts'
import { Store } from './store.ts'
import { userOf } from './tokens.ts'
import { WatchRequests } from './watch-requests.ts'
import { Watches } from './watches.ts'

/** How the server is to be. What is absent has a default that suits a test. */
export interface ApiServerOptions {
  /** Default: one free port of 127.0.0.1. */
  readonly listen?: readonly Address[]
  /** Bearer tokens and their users, as `parseTokens` reads them. */
  readonly tokens: ReadonlyMap<string, User>
  /** Where objects are kept; without it they live as long as the process. */
  readonly dataDirectory?: string
  /** Where the certificates are kept; without it every start makes new ones. */
  readonly tlsDirectory?: string
  /** Names and addresses in the certificate beside those it listens on. */
  readonly names?: readonly string[]
  /** CustomResourceDefinitions to serve from the start. */
  readonly definitions?: readonly JsonObject[]
  /** Changes kept for each kind before watches from before them get 410. Default 10,000. */
  readonly historyLimit?: number
  /** Milliseconds between bookmarks. Default 60,000, as the real server. */
  readonly bookmarkMs?: number
  /** Whether WatchList (`sendInitialEvents`) is served. Default true. */
  readonly watchList?: boolean
}

/**
 * The lab's Kubernetes API server: as much of kube-apiserver as the mesh and kubectl need, in this process, with faults
 * to order. It authenticates but does not authorize: whoever has a token may do everything.
 */
export class ApiServer implements AsyncDisposable {
  readonly faults = new Faults()
  readonly store: Store
  /** The certificate authority's certificate, in PEM. */
  readonly ca: string
  readonly #meter = new LoadMeter()
  readonly #watches: Watches
  readonly #router: Router
  readonly #tokens: ReadonlyMap<string, User>
  readonly #journal: Journal | undefined
  readonly #server: Server
  readonly #listeners: Listeners

  static async start(options: ApiServerOptions): Promise<ApiServer> {
    const listen = options.listen ?? [{ host: '127.0.0.1', port: 0 }]
    const hosts = listen.flatMap(address => ('path' in address ? [] : [address.host]))
    const certificates = await certificatesFor(['127.0.0.1', ...hosts, ...(options.names ?? [])], options.tlsDirectory)
    const server = new ApiServer(options, listen, certificates)
    await server.#listeners.open()
    return server
  }

  private constructor(
    options: ApiServerOptions,
    listen: readonly Address[],
    { ca, cert, key }: { ca: string; cert: string; key: string },
  ) {
    this.ca = ca
    this.#tokens = options.tokens
    this.#journal = options.dataDirectory === undefined ? undefined : new Journal(options.dataDirectory)
    this.store = new Store(options.historyLimit ?? 10_000, this.#journal?.loaded)
    seed(this.store, options.definitions ?? [])
    // Nobody has seen the seeding; as after a start of the real server, history begins here.
    this.store.compact()
    this.#journal?.begin(() => this.store.state)
    if (this.#journal !== undefined) this.store.onChange(this.#journal.record)
    this.#watches = new Watches(this.store)
    const registry = new Registry(this.store)
    const { bookmarkMs = 60_000, watchList = true } = options
    const watchRequests = new WatchRequests(this.store, this.#watches, { bookmarkMs, watchList })
    this.#router = new Router(registry, new ObjectRequests(this.store, watchRequests))
    this.#server = createServer({ cert, key, ALPNProtocols: ['http/1.1'] }, (request, response) => {
      void this.#answer(request, response)
    })
    this.#server.keepAliveTimeout = 3 * 60_000
    this.#server.on('tlsClientError', (_, socket) => socket.destroy())
    this.#listeners = new Listeners(listen, (socket: Socket) => this.#server.emit('connection', socket))
  }

  /** Where it listens, with the ports that it got. */
  get addresses(): readonly Address[] {
    return this.#listeners.addresses
  }

  /** https URL of the first address that is no unix socket. */
  get url(): string {
    const first = this.addresses.find(address => 'port' in address)
    if (first === undefined) throw new TypeError('this API server listens on unix sockets only and has no URL')
    return `https://${first.host.includes(':') ? `[${first.host}]` : first.host}:${first.port}`
  }

  /** Requests and bytes since the last reset, by user, verb and path. */
  get loads(): readonly Readonly<Load>[] {
    return this.#meter.loads
  }

  get openWatches(): number {
    return this.#watches.size
  }

  get openConnections(): number {
    return this.#listeners.connections
  }

  resetLoads(): void {
    this.#meter.reset()
  }

  /** Forgets history: watches that resume from before now, and pages of older lists, get 410. Open watches go on. */
  compact(): void {
    this.#watches.pumpAll()
    this.store.compact()
  }

  /** Ends every open watch with 410 in its stream. */
  expireWatches(): void {
    this.#watches.fail(new ApiError(410, 'Expired', 'too old resource version: the lab has compacted its history'))
  }

  /** Cuts the connection of every watch. */
  dropWatches(): void {
    this.#watches.drop()
  }

  /** Cuts every connection; new ones are welcome. */
  cutConnections(): void {
    this.#listeners.cut()
  }

  /** Stops listening and cuts every connection, as a server that is down. */
  async refuse(): Promise<void> {
    await this.#listeners.close()
  }

  /** Listens again where it did. */
  async accept(): Promise<void> {
    await this.#listeners.open()
  }

  /** Keeps connections, takes new ones, and answers nobody: a server that hangs, or a network that swallows. */
  hang(): void {
    this.faults.silent = true
    this.#watches.silent = true
    this.#listeners.holding = true
  }

  /** Answers what has been waiting since `hang`. */
  unhang(): void {
    this.faults.silent = false
    this.#watches.silent = false
    this.#listeners.holding = false
  }

  /** Ends watches in good order, closes every connection and writes the state down. */
  async close(): Promise<void> {
    this.#watches.end()
    await this.#listeners.close()
    this.#journal?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = new Exchange(request, response)
    try {
      await this.#serve(exchange)
    } catch (error) {
      await exchange.sendError(error instanceof ApiError ? error : internal(error))
    }
  }

  async #serve(exchange: Exchange): Promise<void> {
    const { pathname, searchParams } = exchange.url
    const user = userOf(this.#tokens, exchange.header('authorization'))
    const target = targetOf(pathname)
    const verb = target === undefined ? exchange.method.toLowerCase() : verbOf(exchange.method, target, searchParams)
    const name = user?.name ?? 'system:anonymous'
    exchange.load = this.#meter.counter(name, verb, target === undefined ? pathname : pathTemplate(target))
    exchange.load.requests++
    await this.faults.befall({ user: name, verb, path: pathname })
    if (user === undefined && !isPublic(pathname)) throw unauthorized()
    await this.#router.answer(exchange, target)
  }
}

/** A fault of this server's own: what it says names it, so that nobody takes it for a fault of the client's. */
function internal(error: unknown): ApiError {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return new ApiError(500, 'InternalError', `Internal error occurred: ${text}`)
}
