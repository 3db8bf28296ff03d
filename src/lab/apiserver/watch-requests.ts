import { randomInt } from 'node:crypto'
import type { Exchange } from './exchange.ts'
import { forbiddenOption } from './list.ts'
import { keyOf } from './object.ts'
import { isTrue, wholeNumber } from './query.ts'
import type { Representation } from './representation.ts'
import type { Resource } from './resource.ts'
import { type Selector, selectorOf } from './selectors.ts'
import { tooLargeResourceVersion } from './status.ts'
import type { Store } from './store.ts'
import { Watch, type WatchOptions } from './watch.ts'
import type { Watches } from './watches.ts'

export interface WatchSettings {
  /** How often a watch that asked for bookmarks gets one, in milliseconds. The real server's is a minute. */
  readonly bookmarkMs: number
  /** Whether `sendInitialEvents` is served: Kubernetes 1.33 and before 1.32 refuse it. */
  readonly watchList: boolean
}

/** The real server ends a watch that names no timeout after 30 to 60 minutes. */
const DEFAULT_TIMEOUT_S = 1800

/** Answers requests with watch=true. */
export class WatchRequests {
  readonly #store: Store
  readonly #watches: Watches
  readonly #settings: WatchSettings

  constructor(store: Store, watches: Watches, settings: WatchSettings) {
    this.#store = store
    this.#watches = watches
    this.#settings = settings
  }

  /** Begins the stream; it ends by itself. Throws ApiError for what cannot be watched. */
  async answer(
    exchange: Exchange,
    resource: Resource,
    namespace: string | undefined,
    representation: Representation,
  ): Promise<void> {
    const query = exchange.url.searchParams
    const options = this.#options(resource, namespace, representation, query)
    const timeoutS = wholeNumber(query, 'timeoutSeconds') || DEFAULT_TIMEOUT_S + randomInt(DEFAULT_TIMEOUT_S)
    const { request, response } = exchange
    representation.bookmark(resource, {}) // throws, before the stream has begun, where the form is one of lists
    exchange.beginStream()
    const watch = new Watch(this.#store, options, {
      write: (text, events) => exchange.writeStream(text, events),
      end: () => response.end(),
    })
    const bookmarks = isTrue(query, 'allowWatchBookmarks')
    const ticker = bookmarks ? setInterval(() => this.#watches.bookmark(watch), this.#settings.bookmarkMs) : undefined
    const deadline = setTimeout(() => {
      if (bookmarks) this.#watches.bookmark(watch)
      watch.end()
    }, timeoutS * 1000)
    response.on('drain', () => this.#watches.drained(watch))
    response.on('close', () => {
      clearInterval(ticker)
      clearTimeout(deadline)
      this.#watches.delete(watch)
    })
    const asked = wholeNumber(query, 'resourceVersion')
    if (isTrue(query, 'sendInitialEvents') && asked > this.#store.revision) {
      watch.fail(tooLargeResourceVersion(asked, this.#store.revision))
    } else this.#watches.add(watch, () => request.socket.destroy())
  }

  #options(
    resource: Resource,
    namespace: string | undefined,
    representation: Representation,
    query: URLSearchParams,
  ): WatchOptions {
    const asked = wholeNumber(query, 'resourceVersion')
    const sendInitial = this.#sendInitialEvents(query)
    const selector = inNamespace(namespace, selectorOf(resource, query))
    const base = { resource, representation, selector }
    // Without a resourceVersion, or with 0, a watch begins with what there is; so does one that asks for it.
    if (sendInitial === true || (sendInitial === undefined && asked === 0)) {
      const initial = this.#store.list(resource.collection).filter(selector)
      return {
        ...base,
        from: this.#store.revision,
        initial,
        endsInitial: sendInitial === true && isTrue(query, 'allowWatchBookmarks'),
      }
    }
    return { ...base, from: asked === 0 ? this.#store.revision : asked, initial: [], endsInitial: false }
  }

  #sendInitialEvents(query: URLSearchParams): boolean | undefined {
    const text = query.get('sendInitialEvents')
    const match = query.get('resourceVersionMatch')
    if (text === null) {
      if (!match) return undefined
      const why = 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided'
      throw forbiddenOption('resourceVersionMatch', why)
    }
    if (!this.#settings.watchList) {
      const why = 'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled'
      throw forbiddenOption('sendInitialEvents', why)
    }
    if (match !== 'NotOlderThan') {
      const why = 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'
      throw forbiddenOption('resourceVersionMatch', why)
    }
    return isTrue(query, 'sendInitialEvents')
  }
}

function inNamespace(namespace: string | undefined, selector: Selector): Selector {
  if (namespace === undefined) return selector
  return object => keyOf(object).startsWith(`${namespace}/`) && selector(object)
}
