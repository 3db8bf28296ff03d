import type { Query } from '#src/cluster/api-client.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import type { ReflectorOptions } from '#src/cluster/reflector.ts'

type Client = ReflectorOptions<unknown>['client']

interface Event {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: object
}

type Stored = Record<string, unknown>

interface Change {
  readonly version: number
  readonly before: Stored | undefined
  readonly after: Stored | undefined
}

interface Collection {
  readonly objects: Map<string, Stored>
  readonly history: Change[]
  readonly watchers: Set<(change: Change) => void>
  readonly selectors: Set<string>
  /** What watches asked for: whole objects, or their metadata. */
  readonly forms: ('whole' | 'metadata')[]
  /** Ends the watches. */
  readonly ends: Set<() => void>
  /** Has them look again what there is. */
  readonly wakes: Set<() => void>
  /** For watches that a label selects, and for the others: changes of before are forgotten. */
  readonly floors: Record<'selected' | 'all', number>
}

/** Collections that a reflector can follow, in memory: list and watch of what a test puts there. */
export class MemoryApi implements Client {
  /** Paths of single objects that were asked for. */
  readonly gets: string[] = []
  /** Holds up each event of a watch on its way. @param selected by a label */
  lag: ((selected: boolean) => Promise<void>) | undefined
  readonly #collections = new Map<string, Collection>()
  readonly #held = new Map<string, Promise<void>>()
  #version = 1

  /** Serves a collection, empty or not. What is not served is 404. */
  serve(path: string): void {
    const collection = {
      objects: new Map(),
      watchers: new Set<never>(),
      selectors: new Set<string>(),
      ends: new Set<never>(),
    }
    this.#collections.set(path, {
      ...collection,
      history: [],
      forms: [],
      wakes: new Set(),
      floors: { selected: 0, all: 0 },
    })
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
    this.#change(collection, name, { ...fields, metadata })
  }

  delete(path: string, name: string): void {
    ++this.#version
    this.#change(this.#at(path), name, undefined)
  }

  #change(collection: Collection, name: string, after: Stored | undefined): void {
    const change = { version: this.#version, before: collection.objects.get(name), after }
    if (after) collection.objects.set(name, after)
    else collection.objects.delete(name)
    collection.history.push(change)
    for (const tell of collection.watchers) tell(change)
  }

  objects(path: string): ReadonlyMap<string, Stored> {
    return this.#at(path).objects
  }

  /**
   * Forgets what has changed: every watch that is open ends with 410, and so does one that is to take up before.
   * @param onlySelected only for watches that a label selects
   */
  expire(path: string, onlySelected = false): void {
    const { floors, wakes } = this.#at(path)
    floors.selected = ++this.#version
    if (!onlySelected) floors.all = this.#version
    for (const wake of wakes) wake()
  }

  watchers(path: string): number {
    return this.#collections.get(path)?.watchers.size ?? 0
  }

  /** The forms in which the collection was asked for, one after the other. */
  forms(path: string): readonly ('whole' | 'metadata')[] {
    return this.#at(path).forms
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
    const inForm = options?.accept?.includes('PartialObjectMetadata') ? metadataOf : whole
    const isSelected = selection(options?.query)
    const tell = (change: Change) => {
      const event = eventOf(change, isSelected)
      if (!event) return
      queue.push({ type: event.type, object: inForm(event.object) })
      wake.resolve()
    }
    collection.forms.push(inForm === whole ? 'whole' : 'metadata')
    collection.selectors.add(String(options?.query?.fieldSelector))
    const from = options?.query?.resourceVersion
    const began = Number(from ?? this.#version)
    const isExpired = () => began < collection.floors[options?.query?.labelSelector === undefined ? 'all' : 'selected']
    if (from === undefined) {
      const initial = collection.objects.values().filter(isSelected)
      for (const object of initial) queue.push({ type: 'ADDED', object: inForm(object) })
      const end = {
        annotations: { 'k8s.io/initial-events-end': 'true' },
        resourceVersion: String(this.#version),
        name: '',
      }
      queue.push({ type: 'BOOKMARK', object: { metadata: end } })
    } else for (const change of collection.history) if (change.version > began) tell(change)
    collection.watchers.add(tell)
    let ended = false
    const finish = () => {
      ended = true
      wake.resolve()
    }
    const look = () => wake.resolve()
    collection.ends.add(finish)
    collection.wakes.add(look)
    options?.signal?.addEventListener('abort', () => wake.resolve())
    try {
      while (!options?.signal?.aborted) {
        const event = isExpired() ? EXPIRED : queue.shift()
        if (event) {
          await this.lag?.(options?.query?.labelSelector !== undefined)
          yield event
        } else if (ended) return
        else {
          await wake.promise
          wake = Promise.withResolvers()
        }
      }
    } finally {
      collection.watchers.delete(tell)
      collection.ends.delete(finish)
      collection.wakes.delete(look)
    }
  }

  #at(path: string): Collection {
    const collection = this.#collections.get(path)
    if (!collection) throw new Error(`${path} is not served`)
    return collection
  }
}

const EXPIRED: Event = {
  type: 'ERROR',
  object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' },
}

const whole = (object: object): object => object

const metadataOf = (object: object): object => ({
  kind: 'PartialObjectMetadata',
  metadata: 'metadata' in object ? object.metadata : {},
})

/** What leaves a selection is told as it was when it was last in it. */
function eventOf({ version, before, after }: Change, isSelected: (object: Stored) => boolean): Event | undefined {
  const [was, is] = [before && isSelected(before), after && isSelected(after)]
  if (after && is) return { type: was ? 'MODIFIED' : 'ADDED', object: after }
  if (!before || !was) return undefined
  return {
    type: 'DELETED',
    object: { ...before, metadata: { ...Object(before.metadata), resourceVersion: String(version) } },
  }
}

/** Of all that selectors can say: one name, and a label that is not there. */
function selection(query: Query = {}): (object: Stored) => boolean {
  const name = /^metadata\.name=(.*)$/.exec(String(query.fieldSelector))?.[1]
  const absent = /^!(.*)$/.exec(String(query.labelSelector))?.[1]
  return object => {
    const metadata = Object(object.metadata)
    return (
      (name === undefined || metadata.name === name) && (absent === undefined || !(absent in Object(metadata.labels)))
    )
  }
}
