import { createHash, randomBytes } from 'node:crypto'
import PQueue from 'p-queue'
import type { ApiClient } from './api-client.ts'
import { ApiError } from './api-errors.ts'
import { type Clock, systemClock } from './clock.ts'
import { clip, messageOf } from './hostile.ts'
import type { Logger } from './logger.ts'
import type { RateLimit } from './rate-limited-loop.ts'

export interface NodeEventsOptions {
  readonly client: Pick<ApiClient, 'create' | 'mergePatch'>
  readonly nodeName: string
  readonly logger: Logger
  /** Default: 10 writes in any 60 s. */
  readonly limit?: RateLimit
  readonly clock?: Clock
}

export interface NodeEvent {
  readonly type: 'Normal' | 'Warning'
  /** UpperCamelCase, stable: people select by it. */
  readonly reason: string
  readonly message: string
}

interface Series {
  readonly name: string
  readonly key: string
  readonly event: NodeEvent
  readonly first: string
  last: string
  count: number
  written: boolean
  /** A write is queued that will carry whatever the count is by then. */
  queued: boolean
  touchedAt: number
}

/** Events about Nodes, which have no namespace, are kept in this one; the kubelet's are too. */
const NAMESPACE = 'default'
const PATH = `/api/v1/namespaces/${NAMESPACE}/events`

/** An Event as facts of a log line, whose own `event` is another thing. */
const told = ({ type, reason, message }: NodeEvent): object => ({ type, reason, words: message })

/** The API server forgets events after an hour by default; a series that rested so long begins anew. */
const SERIES_MS = 30 * 60_000

/** Different events that are remembered, and writes that may wait: beyond, the oldest series and the newest events go. */
const MOST_SERIES = 256
const MOST_QUEUED = 64

/**
 * Kubernetes Events about the own Node. The same event again only raises the count of the one that is there. Events are
 * for people, so they are dropped rather than delayed for long, and a failure to write one is only logged.
 */
export class NodeEvents {
  readonly #options: NodeEventsOptions
  readonly #clock: Clock
  readonly #queue: PQueue
  readonly #stopping = new AbortController()
  readonly #series = new Map<string, Series>()
  #dropped = 0

  constructor(options: NodeEventsOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    const { interval, most } = options.limit ?? { interval: 60_000, most: 10 }
    this.#queue = new PQueue({ concurrency: 1, interval, intervalCap: most, strict: true })
  }

  /** Events that were not written because too many came. */
  get dropped(): number {
    return this.#dropped
  }

  emit(event: NodeEvent): void {
    if (this.#stopping.signal.aborted) return
    const series = this.#seriesOf(event)
    if (series.queued) return
    if (this.#queue.size >= MOST_QUEUED) {
      this.#dropped++
      this.#options.logger.debug({ event: 'events-dropped', ...told(event) }, 'too many Events, one dropped')
      return
    }
    series.queued = true
    void this.#queue.add(() => this.#write(series)).catch(() => {})
  }

  /** Resolves when all that was emitted is written, or was given up. */
  async flush(): Promise<void> {
    await this.#queue.onIdle()
  }

  /** Ends the write that is under way and drops those that wait. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#queue.clear()
    await this.#queue.onIdle()
  }

  #seriesOf(event: NodeEvent): Series {
    const now = new Date(this.#clock.wall()).toISOString().replace(/\.\d+Z$/, 'Z')
    const key = createHash('sha256')
      .update(JSON.stringify([event.type, event.reason, event.message]))
      .digest('base64')
    const known = this.#series.get(key)
    this.#series.delete(key)
    const fresh = known && this.#clock.now() - known.touchedAt < SERIES_MS
    const series = fresh ? known : this.#begin(key, event, now)
    series.count++
    series.last = now
    series.touchedAt = this.#clock.now()
    this.#series.set(key, series)
    const [oldest] = this.#series.keys()
    if (this.#series.size > MOST_SERIES && oldest !== undefined) this.#series.delete(oldest)
    return series
  }

  #begin(key: string, event: NodeEvent, now: string): Series {
    // A name is at most 253 characters, and a Node's may be as long.
    const name = `${this.#options.nodeName.slice(0, 200)}.${randomBytes(8).toString('hex')}`
    return { name, key, event, first: now, last: now, count: 0, written: false, queued: false, touchedAt: 0 }
  }

  async #write(series: Series): Promise<void> {
    series.queued = false
    const { client, logger } = this.#options
    const { signal } = this.#stopping
    try {
      if (series.written) {
        const patch = { count: series.count, lastTimestamp: series.last }
        await client.mergePatch(`${PATH}/${series.name}`, patch, { signal })
      } else await client.create(PATH, this.#object(series), { signal })
      series.written = true
    } catch (error) {
      if (signal.aborted) return
      const status = error instanceof ApiError ? error.status : 0
      // Gone from the server: the next of this kind begins a new one.
      if (series.written && status === 404) this.#series.delete(series.key)
      // The answer to an earlier write was lost, not the write.
      if (!series.written && status === 409) series.written = true
      logger.warn({ event: 'event-unwritten', ...told(series.event) }, `cannot write an Event: ${messageOf(error)}`)
    }
  }

  #object({ name, event, first, last, count }: Series): object {
    const { nodeName } = this.#options
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name, namespace: NAMESPACE },
      // The kubelet too gives the name in place of the UID, and `kubectl describe node` looks for that.
      involvedObject: { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName },
      type: event.type,
      reason: clip(event.reason, 128),
      message: clip(event.message, 1000),
      source: { component: 'podveil', host: nodeName },
      reportingComponent: 'podveil',
      reportingInstance: nodeName,
      firstTimestamp: first,
      lastTimestamp: last,
      count,
    }
  }
}
