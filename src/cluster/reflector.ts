import type { ApiClient, Query } from './api-client.ts'
import { ApiError, errorFromStatus } from './api-errors.ts'
import { Backoff, between, type Random } from './backoff.ts'
import { type Clock, sleep, systemClock } from './clock.ts'
import { member, messageOf, objectOf, textOf } from './hostile.ts'
import { LinePace } from './line-pace.ts'
import type { Logger } from './logger.ts'
import { type Change, Mirror } from './mirror.ts'
import type { ReflectorPhase, ReflectorState } from './reflector-state.ts'

/** Called in the order of the server's events. What it throws is logged, and the next event is delivered. */
export interface ReflectorHandler<T> {
  /** A whole new truth: after the first list and after every later one. The map is live; unchanged items are the same objects. */
  replaced(items: ReadonlyMap<string, T>): void
  upserted(item: T, key: string): void
  deleted(key: string): void
}

export interface ReflectorOptions<T> {
  readonly client: Pick<ApiClient, 'list' | 'stream'>
  /** Collection to follow: `/api/v1/nodes`. */
  readonly path: string
  /** What is kept of an object; undefined for one that is of no interest. What it throws is logged, and the object is not kept. */
  readonly project: (raw: unknown) => T | undefined
  readonly handler: ReflectorHandler<T>
  readonly logger: Logger
  readonly fieldSelector?: string
  readonly labelSelector?: string
  /** Where to take up, so that nothing of before is known; without, the whole collection is read first. */
  readonly resourceVersion?: string
  /**
   * Whether what changes is to be told as metadata alone (PartialObjectMetadata): less than half of a Node. The whole collection
   * is read whole nevertheless. Asked before each watch.
   */
  readonly metadataOnly?: () => boolean
  /**
   * Milliseconds for which nothing more is taken after events that changed nothing, at most, in a collection of so many: each
   * time that a process is woken costs as much as several events.
   */
  readonly rest?: (items: number) => number
  /** 404 says that the resource is not installed, which is as good as an empty list. */
  readonly optional?: boolean
  /** Milliseconds between two looks for one that is not installed. Default 10 to 30 s. */
  readonly absentMs?: { readonly least: number; readonly most: number }
  /** Milliseconds without a byte after which a watch counts as dead. Default 90 s: a server sends a bookmark every minute. */
  readonly silenceMs?: number
  /** Items of a page where the list is not streamed. Default 500. */
  readonly pageSize?: number
  readonly clock?: Clock
  readonly random?: Random
}

const INITIAL_EVENTS_END = 'k8s.io/initial-events-end'

/** The server ends a watch after this many seconds, drawn anew for each, so that watches do not end together. */
const WATCH_SECONDS = { least: 300, most: 600 }

/** A watch that the server ends sooner than this is a failure, whatever its status: following it at once would be a hot loop. */
const SHORT_MS = 5_000

/** Bytes of events after which there is no rest: more is coming than a connection holds meanwhile. */
const FLOOD = 131_072

/** How often a resource that is not installed is looked for. */
const ABSENT_MS = { least: 10_000, most: 30_000 }

/** An API server that is starting says 404 for a moment to what it serves a second later, so once is not enough. */
const ABSENCES_BELIEVED = 2

/** Answers that say nothing against the resourceVersion that was asked for: too busy, not up, not allowed. */
const KEEPS_PLACE: readonly number[] = [401, 403, 429, 502, 503]

/** Keeps a projected copy of one collection of the API server, for as long as it runs and whatever happens to the server. */
export class Reflector<T> {
  /** The first list is complete. Rejects when the reflector is stopped before. */
  readonly synced: Promise<void>

  readonly #options: ReflectorOptions<T>
  readonly #clock: Clock
  readonly #random: Random
  readonly #mirror: Mirror<T>
  readonly #backoff: Backoff
  readonly #faultPace = new LinePace()
  readonly #stopping = new AbortController()
  /** What is under way. */
  #request = new AbortController()
  readonly #firstSync = Promise.withResolvers<void>()
  #loop: Promise<void> | undefined
  /** Where a watch takes up; undefined while only a fresh list helps. */
  #resourceVersion: string | undefined
  #absences = 0
  /** Something has changed since all that had come was last taken. */
  #news = false
  /** The session under way, or the last one, had the server stream the list. */
  #streamingList = false
  /** The last streamed list did not end: some servers ignore what they do not know. The next one comes in pages. */
  #inVain = false
  readonly #state = {
    phase: 'idle' as ReflectorPhase,
    synced: false,
    mode: 'watch-list' as 'watch-list' | 'list',
    lists: 0,
    watches: 0,
    restarts: 0,
    events: 0,
    faults: 0,
    bytes: 0,
    lastEventAt: undefined as number | undefined,
    lastError: undefined as string | undefined,
  }

  constructor(options: ReflectorOptions<T>) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#backoff = new Backoff(this.#clock, this.#random)
    this.#mirror = new Mirror({ project: options.project, onFault: sentence => this.#fault(sentence) })
    this.#resourceVersion = options.resourceVersion
    this.synced = this.#firstSync.promise
    // A caller that never looks must not be brought down by a stop.
    this.synced.catch(() => {})
  }

  get items(): ReadonlyMap<string, T> {
    return this.#mirror.items
  }

  get state(): ReflectorState {
    return { ...this.#state, items: this.#mirror.items.size }
  }

  /** Idempotent. */
  start(): void {
    this.#loop ??= this.#run()
  }

  /** Of which resourceVersion one of the items is; empty where there is none of that key. */
  versionOf(key: string): string {
    return this.#mirror.versionOf(key)
  }

  /** What is held is of this resourceVersion; undefined before the first list and where a fresh one is needed. */
  get resourceVersion(): string | undefined {
    return this.#resourceVersion
  }

  /** Ends a watch that is under way, and goes on from where it was with what the options say now. */
  resume(): void {
    this.#request.abort()
  }

  /** Ends the request that is under way; no handler is called any more. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#loop
    this.#state.phase = 'stopped'
    this.#firstSync.reject(this.#signal.reason)
  }

  get #signal(): AbortSignal {
    return this.#stopping.signal
  }

  async #run(): Promise<void> {
    while (!this.#signal.aborted) {
      let wait: number
      try {
        wait = await this.#session()
      } catch (error) {
        if (this.#signal.aborted) return
        wait = this.#request.signal.aborted ? 0 : this.#failed(error)
      }
      if (wait > 0) await sleep(this.#clock, wait, this.#signal)
    }
  }

  /** One request: a list, or a watch until it ends. @returns milliseconds until the next */
  async #session(): Promise<number> {
    const from = this.#resourceVersion
    this.#request = new AbortController()
    this.#streamingList = from === undefined && this.#state.mode === 'watch-list' && !this.#inVain
    if (from !== undefined) return this.#watch(from)
    this.#state.phase = 'syncing'
    this.#state.lists++
    this.#inVain = false
    return this.#streamingList ? this.#streamList() : this.#list()
  }

  async #list(): Promise<number> {
    const draft = this.#mirror.draft()
    let resourceVersion = ''
    const { client, path, pageSize } = this.#options
    const pages = client.list(path, {
      query: this.#selectors,
      ...(pageSize === undefined ? {} : { limit: pageSize }),
      signal: this.#signal,
      onBytes: this.#countBytes,
    })
    for await (const page of pages) {
      for (const raw of page.items) draft.put(raw)
      resourceVersion = page.resourceVersion
    }
    this.#replace(draft, resourceVersion)
    return 0
  }

  async #streamList(): Promise<number> {
    const began = this.#clock.now()
    const before = this.#state.events
    try {
      return await this.#watch(undefined)
    } finally {
      // A connection that was refused says nothing against streaming; one that was up for a while does.
      const answered = this.#state.events > before || this.#clock.now() - began >= SHORT_MS
      this.#inVain = this.#streamingList && answered
    }
  }

  /** @param from resourceVersion to take up at; undefined to have the whole collection streamed first */
  async #watch(from: string | undefined): Promise<number> {
    const began = this.#clock.now()
    const seconds = Math.round(between(WATCH_SECONDS.least, WATCH_SECONDS.most, this.#random))
    const start: Query =
      from === undefined ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' } : { resourceVersion: from }
    const { client, path, metadataOnly, silenceMs } = this.#options
    const signal = AbortSignal.any([this.#signal, this.#request.signal])
    let draft = from === undefined ? this.#mirror.draft() : undefined
    if (!draft) this.#state.phase = 'watching'
    this.#state.watches++
    const stream = client.stream(path, {
      query: { watch: true, allowWatchBookmarks: true, timeoutSeconds: seconds, ...start, ...this.#selectors },
      ...(from !== undefined && metadataOnly?.() && { accept: METADATA }),
      silenceMs: silenceMs ?? 90_000,
      signal,
      onBytes: this.#countBytes,
      ...(this.#options.rest && { between: this.#rest }),
    })
    for await (const raw of stream) {
      if (signal.aborted) return 0
      const finished = this.#event(raw, draft)
      if (finished !== undefined && draft) {
        this.#replace(draft, finished)
        draft = undefined
        this.#streamingList = false
        if (metadataOnly?.()) return 0
      }
    }
    if (signal.aborted) return 0
    if (draft) throw new Error('the streamed list ended before it was complete')
    return this.#ended(this.#clock.now() - began, seconds)
  }

  /** @returns the resourceVersion of a draft that this event completes */
  #event(raw: unknown, draft: Mirror<T> | undefined): string | undefined {
    const event = objectOf(raw)
    const type = member(event, 'type')
    const object = member(event, 'object')
    if (type === 'ERROR') {
      // Whatever it is, the stream is over and what follows the last event is not known.
      this.#resourceVersion = undefined
      throw errorFromStatus(`watch ${this.#options.path}`, object, 0)
    }
    const metadata = objectOf(member(objectOf(object), 'metadata'))
    const resourceVersion = textOf(member(metadata, 'resourceVersion'), 256)
    this.#state.events++
    this.#state.lastEventAt = this.#clock.now()
    let change: Change<T> = { kind: 'none' }
    if (type === 'BOOKMARK') {
      if (draft) {
        const end = member(objectOf(member(metadata, 'annotations')), INITIAL_EVENTS_END) === 'true'
        return end ? resourceVersion : undefined
      }
    } else if (type === 'ADDED' || type === 'MODIFIED') change = (draft ?? this.#mirror).put(object)
    else if (type === 'DELETED') change = (draft ?? this.#mirror).delete(object)
    else this.#fault('an event has an unknown type')
    if (draft || change.kind !== 'none') this.#news = true
    if (draft) return undefined
    if (resourceVersion !== undefined) this.#resourceVersion = resourceVersion
    this.#healthy()
    this.#deliver(change)
    return undefined
  }

  #replace(draft: Mirror<T>, resourceVersion: string | undefined): void {
    this.#signal.throwIfAborted()
    this.#mirror.replace(draft)
    this.#resourceVersion = resourceVersion
    this.#state.phase = 'watching'
    this.#absences = 0
    this.#healthy()
    this.#announceReplaced()
  }

  #announceReplaced(): void {
    this.#state.synced = true
    this.#guarded(() => this.#options.handler.replaced(this.#mirror.items))
    this.#firstSync.resolve()
  }

  #deliver(change: Change<T>): void {
    const { handler } = this.#options
    if (change.kind === 'upserted') this.#guarded(() => handler.upserted(change.value, change.key))
    else if (change.kind === 'deleted') this.#guarded(() => handler.deleted(change.key))
  }

  #guarded(call: () => void): void {
    try {
      call()
    } catch (error) {
      this.#fault(`its handler failed: ${messageOf(error)}`)
    }
  }

  /** The server ended the stream in good order. @returns milliseconds until the next */
  #ended(livedMs: number, seconds: number): number {
    if (livedMs < SHORT_MS) return this.#failed(new Error(`the watch ended after ${Math.round(livedMs)} ms`))
    // One that lived its time ends alone; one that did not ends with all others, because its server goes away.
    return livedMs >= (seconds - 1) * 1000 ? 0 : between(0, 800, this.#random)
  }

  /** @returns milliseconds until the next try */
  #failed(error: unknown): number {
    const status = error instanceof ApiError ? error.status : 0
    if (status === 404 && this.#options.optional) return this.#absent()
    if (this.#streamingList && (status === 400 || status === 422)) {
      this.#state.mode = 'list'
      this.#options.logger.info(
        { event: 'watch-lists-in-pages', path: this.#options.path },
        'the API server streams no lists; listing in pages instead',
      )
      return 0
    }
    if (status !== 0 && !KEEPS_PLACE.includes(status)) this.#resourceVersion = undefined
    this.#absences = 0
    this.#state.phase = 'waiting'
    this.#state.restarts++
    this.#report(error)
    const asked = error instanceof ApiError ? (error.retryAfter ?? 0) * 1000 : 0
    return Math.max(this.#backoff.failed(), between(asked, asked * 1.25, this.#random))
  }

  #absent(): number {
    this.#resourceVersion = undefined
    this.#absences++
    const { least, most } = this.#options.absentMs ?? ABSENT_MS
    const slowly = between(least, most, this.#random)
    if (this.#absences < ABSENCES_BELIEVED) return this.#mirror.items.size > 0 ? slowly : this.#backoff.failed()
    if (this.#absences === ABSENCES_BELIEVED) {
      const { logger, path } = this.#options
      logger.info(
        { event: 'resource-absent', path },
        'the API server does not serve this resource; going on without, and looking for it now and then',
      )
      this.#mirror.replace(this.#mirror.draft())
      this.#announceReplaced()
    }
    this.#state.phase = 'absent'
    return slowly
  }

  #healthy(): void {
    this.#backoff.succeeded()
    if (this.#state.lastError === undefined) return
    this.#state.lastError = undefined
    this.#options.logger.info(
      { event: 'watch-works-again', path: this.#options.path },
      'following the API server again',
    )
  }

  /** A failure is told once, until it is another one or things went well in between. */
  #report(error: unknown): void {
    const { logger, path } = this.#options
    const message = messageOf(error)
    const level = message === this.#state.lastError ? 'debug' : 'warn'
    this.#state.lastError = message
    logger[level](
      { event: 'watch-interrupted', path, failures: this.#backoff.failures + 1 },
      `watch interrupted, trying again: ${message}`,
    )
  }

  #fault(sentence: string): void {
    this.#state.faults++
    const unsaid = this.#faultPace.say(this.#clock.now())
    if (unsaid === undefined) return
    const { logger, path } = this.#options
    const more = unsaid > 0 ? ` (and ${unsaid} more before that were not logged)` : ''
    logger.warn({ event: 'object-ignored', path, faults: this.#state.faults }, `ignored: ${sentence}${more}`)
  }

  readonly #rest = (bytes: number): Promise<void> | undefined => {
    const [hadNews, duration] = [this.#news, this.#options.rest?.(this.#mirror.items.size) ?? 0]
    this.#news = false
    return hadNews || bytes >= FLOOD || duration < 1 ? undefined : sleep(this.#clock, duration, this.#signal)
  }

  readonly #countBytes = (bytes: number): void => {
    this.#state.bytes += bytes
  }

  get #selectors(): Query {
    const { fieldSelector, labelSelector } = this.#options
    return { fieldSelector, labelSelector }
  }
}

const METADATA = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json'
