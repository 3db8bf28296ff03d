import { ApiError } from '#src/cluster/api-errors.ts'
import type { ReflectorOptions } from '#src/cluster/reflector.ts'

type Client = ReflectorOptions<unknown>['client']

interface Event {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  readonly object: object
}

interface Collection {
  readonly objects: Map<string, Record<string, unknown>>
  readonly watchers: Set<(event: Event) => void>
  readonly selectors: Set<string>
  /** Ends the watches. */
  readonly ends: Set<() => void>
}

/** Collections that a reflector can follow, in memory: list and watch of what a test puts there. */
export class MemoryApi implements Client {
  /** Paths of single objects that were asked for. */
  readonly gets: string[] = []
  readonly #collections = new Map<string, Collection>()
  readonly #held = new Map<string, Promise<void>>()
  #version = 1

  /** Serves a collection, empty or not. What is not served is 404. */
  serve(path: string): void {
    this.#collections.set(path, { objects: new Map(), watchers: new Set(), selectors: new Set(), ends: new Set() })
  }

  /** Lets whoever asks for a collection wait. @returns ends the waiting */
  hold(path: string): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#held.set(path, promise)
    return resolve
  }

  put(path: string, name: string, fields: Record<string, unknown>): void {
    const collection = this.#at(path)
    const [last = '', namespace] = name.split('/').reverse()
    const metadata = {
      name: last,
      ...(namespace !== undefined && { namespace }),
      resourceVersion: String(++this.#version),
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...(fields.metadata as object),
    }
    const object = { ...fields, metadata }
    const type = collection.objects.has(name) ? 'MODIFIED' : 'ADDED'
    collection.objects.set(name, object)
    for (const tell of collection.watchers) tell({ type, object })
  }

  delete(path: string, name: string): void {
    const collection = this.#at(path)
    const object = collection.objects.get(name) ?? { metadata: { name } }
    collection.objects.delete(name)
    for (const tell of collection.watchers) tell({ type: 'DELETED', object })
  }

  watchers(path: string): number {
    return this.#collections.get(path)?.watchers.size ?? 0
  }

  /** Field selectors that the collection was asked with. */
  selectors(path: string): ReadonlySet<string> {
    return this.#at(path).selectors
  }

  /** One object of a collection; 404 where there is none. */
  async get(path: string): Promise<unknown> {
    const at = path.lastIndexOf('/')
    this.gets.push(path)
    const object = this.#collections.get(path.slice(0, at))?.objects.get(path.slice(at + 1))
    if (!object) throw new ApiError(`GET ${path}`, 404, 'NotFound', 'not found')
    return object
  }

  /** No longer serves a collection: whoever follows it is told that all is gone, and then that there is nothing. */
  withdraw(path: string): void {
    const collection = this.#at(path)
    for (const name of [...collection.objects.keys()]) this.delete(path, name)
    this.#collections.delete(path)
    for (const end of collection.ends) end()
  }

  /** Every server that this stands for streams its lists. */
  list(path: string): AsyncGenerator<never> {
    throw new Error(`${path} was asked for in pages`)
  }

  async *stream(path: string, options: Parameters<Client['stream']>[1]): AsyncGenerator<unknown> {
    await this.#held.get(path)
    const collection = this.#collections.get(path)
    if (!collection) throw new ApiError(`GET ${path}`, 404, 'NotFound', 'not served')
    const queue: Event[] = []
    let wake = Promise.withResolvers<void>()
    const tell = (event: Event) => {
      queue.push(event)
      wake.resolve()
    }
    collection.selectors.add(String(options?.query?.fieldSelector))
    for (const object of collection.objects.values()) queue.push({ type: 'ADDED', object })
    const end = {
      annotations: { 'k8s.io/initial-events-end': 'true' },
      resourceVersion: String(this.#version),
      name: '',
    }
    queue.push({ type: 'BOOKMARK', object: { metadata: end } })
    collection.watchers.add(tell)
    let ended = false
    const finish = () => {
      ended = true
      wake.resolve()
    }
    collection.ends.add(finish)
    options?.signal?.addEventListener('abort', () => wake.resolve())
    try {
      while (!options?.signal?.aborted) {
        const event = queue.shift()
        if (event) yield event
        else if (ended) return
        else {
          await wake.promise
          wake = Promise.withResolvers()
        }
      }
    } finally {
      collection.watchers.delete(tell)
      collection.ends.delete(finish)
    }
  }

  #at(path: string): Collection {
    const collection = this.#collections.get(path)
    if (!collection) throw new Error(`${path} is not served`)
    return collection
  }
}
