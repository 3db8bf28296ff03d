import type { Change } from './history.ts'
import type { JsonObject } from './json.ts'
import { type StoredObject, withMeta } from './object.ts'
import type { Representation } from './representation.ts'
import type { Resource } from './resource.ts'
import type { Selector } from './selectors.ts'
import { ApiError } from './status.ts'
import type { Store } from './store.ts'

/** Where a watch writes its lines. */
export interface WatchSink {
  /** Returns false when the client is slow: `unblock` is called when it has caught up. */
  write(text: string, events: number): boolean
  end(): void
}

export interface WatchOptions {
  readonly resource: Resource
  readonly representation: Representation
  /** Namespace, fields and labels. */
  readonly selector: Selector
  /** Changes after this revision are sent. */
  readonly from: number
  /** Objects that are sent as ADDED before any change. */
  readonly initial: readonly StoredObject[]
  /** Whether a bookmark says that the initial objects have all been sent (WatchList). */
  readonly endsInitial: boolean
}

/** Events are put together up to about this many characters before they are written. */
const CHUNK = 64 * 1024

/**
 * One watch: a cursor into the history of its collection. It writes as fast as the client reads; one that falls behind
 * what history keeps gets 410 in the stream, as does one that starts there.
 */
export class Watch {
  readonly #store: Store
  readonly #options: WatchOptions
  readonly #sink: WatchSink
  #cursor: number
  /** How many of the initial objects have been sent. */
  #begun = 0
  #owesInitialEnd: boolean
  #blocked = false
  #ended = false

  constructor(store: Store, options: WatchOptions, sink: WatchSink) {
    this.#store = store
    this.#options = options
    this.#sink = sink
    this.#cursor = options.from
    this.#owesInitialEnd = options.endsInitial
  }

  get collection(): string {
    return this.#options.resource.collection
  }

  /** Sends whatever the client has not seen, until it is told no more fits. */
  pump(): void {
    if (!this.#sendInitial()) return
    if (this.#ended || this.#blocked) return
    const history = this.#store.history(this.collection)
    if (this.#cursor < history.floor) {
      this.fail(new ApiError(410, 'Expired', `too old resource version: ${this.#cursor} (${history.floor})`))
      return
    }
    if (!this.#send(history.since(this.#cursor))) return
    this.#cursor = Math.max(this.#cursor, this.#store.revision)
  }

  /** The client has read what was written: more may follow at the next pump. */
  unblock(): void {
    this.#blocked = false
  }

  /** Tells the client how far it has come, if that is further than where it began: the real server says nothing else. */
  bookmark(): void {
    this.pump()
    if (this.#blocked || this.#ended || this.#cursor <= this.#options.from) return
    this.#sendBookmark({})
  }

  /** Ends the stream with an error in it. */
  fail(error: ApiError): void {
    if (this.#ended) return
    this.#write(`${JSON.stringify({ type: 'ERROR', object: error.status })}\n`, 1)
    this.end()
  }

  /** Ends the stream as a timeout of the server's does. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#sink.end()
  }

  #sendInitial(): boolean {
    const { resource, representation, initial } = this.#options
    while (this.#begun < initial.length) {
      if (this.#ended || this.#blocked) return false
      const batch = initial.slice(this.#begun, this.#begun + 16)
      this.#begun += batch.length
      this.#write(batch.map(object => line('ADDED', representation.one(resource, object))).join(''), batch.length)
    }
    if (this.#owesInitialEnd && !this.#ended) {
      this.#owesInitialEnd = false
      this.#sendBookmark({ annotations: { 'k8s.io/initial-events-end': 'true' } })
    }
    return true
  }

  /** Sends those changes; false where the client became slow or the stream ended before the last. */
  #send(changes: readonly Change[]): boolean {
    let text = ''
    let events = 0
    for (const change of changes) {
      const event = this.#event(change)
      text += event
      if (event !== '') events++
      this.#cursor = change.revision
      if (text.length < CHUNK) continue
      this.#write(text, events)
      text = ''
      events = 0
      if (this.#blocked || this.#ended) return false
    }
    if (text !== '') this.#write(text, events)
    return true
  }

  /** The line for a change, or '' where the selector wants neither what was nor what is. */
  #event({ type, object, previous, revision }: Change): string {
    const { resource, representation, selector } = this.#options
    const before = previous !== undefined && selector(previous)
    const now = type !== 'DELETED' && selector(object)
    if (now) return line(before ? 'MODIFIED' : 'ADDED', representation.one(resource, object))
    if (!before) return ''
    // What leaves the selection is reported as it was when it was last in it, at the revision of its leaving.
    const last = withMeta(previous, { resourceVersion: String(revision) })
    return line('DELETED', representation.one(resource, last))
  }

  #sendBookmark(metadata: JsonObject): void {
    const { resource, representation } = this.#options
    const resourceVersion = String(this.#cursor)
    this.#write(line('BOOKMARK', representation.bookmark(resource, { resourceVersion, ...metadata })), 0)
  }

  #write(text: string, events: number): void {
    if (!this.#sink.write(text, events)) this.#blocked = true
  }
}

function line(type: string, object: string): string {
  return `{"type":"${type}","object":${object}}\n`
}
