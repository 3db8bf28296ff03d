import { isDeepStrictEqual } from 'node:util'
import type { ApiClient } from './api-client.ts'
import { ApiError } from './api-errors.ts'
import { Backoff, type Random } from './backoff.ts'
import { type Clock, systemClock } from './clock.ts'
import { type JsonObject, member, messageOf, objectOf, quote, textOf } from './hostile.ts'
import type { Logger } from './logger.ts'
import { type RateLimit, RateLimitedLoop } from './rate-limited-loop.ts'
import { isOlder } from './resource-version.ts'

/** What the Node must say: a text, or null for one that must not be there. */
export type DesiredTexts = ReadonlyMap<string, string | null>

/** The own Node, as a watch sees it. */
export interface ObservedNode {
  readonly annotations: JsonObject
  readonly labels: JsonObject
  readonly resourceVersion: string
}

/** Where on a Node something must be said. */
const FIELDS = ['annotations', 'labels'] as const
type Field = (typeof FIELDS)[number]

/** By field and name: what the Node must say. */
type Difference = readonly { readonly field: Field; readonly key: string; readonly value: string | null }[]

export interface PublisherOptions {
  readonly client: Pick<ApiClient, 'get' | 'mergePatch'>
  readonly nodeName: string
  readonly logger: Logger
  /** What it is that is published, in a sentence. Default: annotations. */
  readonly subject?: string
  /** Patch nodes/NAME/status, as Felix does, where the admission or RBAC wants that. Default: nodes/NAME. */
  readonly subresource?: 'status'
  readonly fieldManager?: string
  /** Default: 5 patches in any 10 s. */
  readonly limit?: RateLimit
  readonly clock?: Clock
  readonly random?: Random
  /** The Node says what it must, as of this resourceVersion. */
  readonly onPublished?: (resourceVersion: string) => void
  /** A patch failed; it is tried again. */
  readonly onFailure?: (error: unknown) => void
}

/** For metrics and `status`. */
export interface PublisherState {
  readonly published: boolean
  readonly patches: number
  /** Times that somebody else had changed what is ours. */
  readonly heals: number
  readonly failures: number
  readonly lastError: string | undefined
}

/**
 * So long may an event of before our patch arrive after its answer. Later a smaller resourceVersion means that the
 * server's store was restored from a backup.
 */
const STALE_MS = 30_000

/**
 * Keeps annotations and labels of the own Node as they must be, by JSON merge patch of those that differ. Foreign changes of
 * our keys are undone: the first at once, repeated ones more and more slowly, so that a quarrel with another controller
 * loads nobody. Keys that are not desired are nobody's business here.
 */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #clock: Clock
  readonly #loop: RateLimitedLoop
  readonly #quarrel: Backoff
  readonly #path: string
  #desired: Readonly<Record<Field, DesiredTexts>> | undefined
  #observed: ObservedNode | undefined
  /** Our last patch: events of before it may still be on their way. */
  #patched: { readonly resourceVersion: string; readonly at: number } | undefined
  /** Where the Node said all that it must. */
  #publishedAt: string | undefined
  /** Set while a repeated foreign change is left alone for a while. */
  #cancelTruce: (() => void) | undefined
  #stopped = false
  readonly #waiting = new Set<PromiseWithResolvers<void>>()
  readonly #counts = { patches: 0, heals: 0, failures: 0 }
  #lastError: string | undefined

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    const random = options.random ?? Math.random
    this.#quarrel = new Backoff(this.#clock, random)
    this.#path = `/api/v1/nodes/${encodeURIComponent(options.nodeName)}`
    this.#loop = new RateLimitedLoop({
      run: signal => this.#publish(signal),
      onFailure: error => this.#failed(error),
      limit: options.limit ?? { interval: 10_000, most: 5 },
      clock: this.#clock,
      random,
    })
  }

  get state(): PublisherState {
    return { published: this.#publishedAt !== undefined, ...this.#counts, lastError: this.#lastError }
  }

  /** What the Node must say from now on. */
  setDesired(annotations: DesiredTexts, labels: DesiredTexts = NO_TEXTS): void {
    this.#desired = { annotations: new Map(annotations), labels: new Map(labels) }
    this.#publishedAt = undefined
    this.#endTruce()
    this.#settle()
  }

  /** What the Node says, whenever the watch tells; undefined when there is no such Node. */
  observed(node: ObservedNode | undefined): void {
    if (node && this.#isStale(node)) return
    const wasPublished = this.#publishedAt !== undefined
    this.#observed = node
    if (node && wasPublished && this.#difference(node).length > 0) this.#heal(node)
    else this.#settle()
  }

  /** Resolves when the Node says what was last desired. Rejects when the publisher is stopped before. */
  whenPublished(): Promise<void> {
    if (this.#publishedAt !== undefined) return Promise.resolve()
    const waiting = Promise.withResolvers<void>()
    this.#waiting.add(waiting)
    return waiting.promise
  }

  /** Ends the patch that is under way, and withdraws nothing. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#endTruce()
    for (const { reject } of this.#waiting) reject(new DOMException('the publisher was stopped', 'AbortError'))
    this.#waiting.clear()
    await this.#loop.stop()
  }

  #settle(): void {
    if (this.#stopped || this.#cancelTruce || !this.#desired) return
    if (this.#observed && this.#difference(this.#observed).length === 0) this.#succeeded(this.#observed.resourceVersion)
    else this.#loop.kick()
  }

  #heal(node: ObservedNode): void {
    this.#publishedAt = undefined
    this.#counts.heals++
    const wait = this.#quarrel.failed()
    this.#quarrel.succeeded()
    const found = this.#difference(node).map(({ field, key }) => `${key} is ${quote(member(node[field], key) ?? null)}`)
    const { logger, subject = 'annotations' } = this.#options
    logger.warn(
      { event: 'annotations-healed', heals: this.#counts.heals },
      `somebody else changed this Node's ${subject}, setting them back: ${found.join(', ')}`,
    )
    if (this.#quarrel.failures > 1)
      this.#cancelTruce = this.#clock.after(wait, () => {
        this.#cancelTruce = undefined
        this.#settle()
      })
    this.#settle()
  }

  #endTruce(): void {
    this.#cancelTruce?.()
    this.#cancelTruce = undefined
  }

  #isStale(node: ObservedNode): boolean {
    // Events that are older than the answer to our own patch would look like somebody who undoes it.
    const { resourceVersion, at } = this.#patched ?? {}
    return at !== undefined && this.#clock.now() - at < STALE_MS && isOlder(node.resourceVersion, resourceVersion)
  }

  async #publish(signal: AbortSignal): Promise<void> {
    const { client, subject = 'annotations', subresource, fieldManager = 'podveil' } = this.#options
    this.#observed ??= observedNode(await client.get(this.#path, { signal }))
    const difference = this.#difference(this.#observed)
    if (difference.length > 0) {
      const patch = { metadata: patchOf(difference) }
      const path = subresource ? `${this.#path}/${subresource}` : this.#path
      this.#counts.patches++
      const after = observedNode(await client.mergePatch(path, patch, { fieldManager, signal }))
      this.#options.logger.debug(
        { event: 'annotations-published', keys: difference.map(({ key }) => key) },
        `published ${subject}`,
      )
      this.#patched = { resourceVersion: after.resourceVersion, at: this.#clock.now() }
      if (!isOlder(after.resourceVersion, this.#observed?.resourceVersion)) this.#observed = after
    }
    // What is desired may have changed meanwhile, or an admission webhook may have changed what we wrote.
    const left = this.#difference(this.#observed)
    if (left.length === 0) this.#succeeded(this.#observed.resourceVersion)
    else if (difference.length > 0 && left.every(one => difference.some(other => isDeepStrictEqual(one, other))))
      throw new Error(`the API server accepted the patch but did not keep ${left.map(({ key }) => key).join(', ')}`)
    else this.#loop.kick()
  }

  #succeeded(resourceVersion: string): void {
    this.#lastError = undefined
    if (this.#publishedAt !== undefined) return
    this.#publishedAt = resourceVersion
    for (const { resolve } of this.#waiting) resolve()
    this.#waiting.clear()
    this.#options.onPublished?.(resourceVersion)
  }

  #failed(error: unknown): void {
    const { logger, nodeName, subject = 'annotations', onFailure } = this.#options
    const missing = error instanceof ApiError && error.status === 404
    if (missing) this.#observed = undefined
    const message = missing
      ? `there is no Node ${quote(nodeName)}: is --node-name (NODE_NAME) the name under which the kubelet registers?`
      : `cannot publish this node's ${subject}: ${messageOf(error)}`
    this.#counts.failures++
    logger[message === this.#lastError ? 'debug' : 'warn']({ event: 'annotations-unwritten' }, message)
    this.#lastError = message
    onFailure?.(error)
  }

  /** What of our own is not as it must be, with what it must be. */
  #difference(node: ObservedNode): Difference {
    return FIELDS.flatMap(field =>
      [...(this.#desired?.[field] ?? [])]
        .filter(([key, value]) => (member(node[field], key) ?? null) !== value)
        .map(([key, value]) => ({ field, key, value })),
    )
  }
}

const NO_TEXTS: DesiredTexts = new Map()

/** A JSON merge patch of metadata. */
function patchOf(difference: Difference): JsonObject {
  const patch: Partial<Record<Field, Record<string, string | null>>> = {}
  for (const { field, key, value } of difference) {
    patch[field] ??= {}
    patch[field][key] = value
  }
  return patch
}

/** @param raw a Node, or its metadata alone */
export function observedNode(raw: unknown): ObservedNode {
  const metadata = objectOf(member(objectOf(raw), 'metadata'))
  return {
    annotations: objectOf(member(metadata, 'annotations')),
    labels: objectOf(member(metadata, 'labels')),
    resourceVersion: textOf(member(metadata, 'resourceVersion'), 256) ?? '',
  }
}
