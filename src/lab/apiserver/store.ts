import { type Change, History } from './history.ts'
import type { JsonObject } from './json.ts'
import { keyOf, type StoredObject, withMeta } from './object.ts'

/** Told of every write before it is answered. */
export type ChangeListener = (collection: string, change: Change) => void

/** What a store holds, as the snapshot on disk has it. */
export interface StoreState {
  readonly revision: number
  readonly collections: Readonly<Record<string, readonly StoredObject[]>>
}

interface Collection {
  readonly objects: Map<string, StoredObject>
  readonly history: History
  /** Keys in the order of the API's lists; made anew when a key comes or goes. */
  order: readonly string[] | undefined
}

/**
 * All objects, by collection and key, with one revision that every write raises, as etcd has it. Objects are immutable:
 * what is handed out may be kept. A restarted store has no history: watches from before it get 410, as after a restart
 * of kube-apiserver.
 */
export class Store {
  #revision: number
  /** History of a collection that nobody has touched yet begins here. */
  #floor: number
  readonly #historyLimit: number
  readonly #collections = new Map<string, Collection>()
  readonly #listeners = new Set<ChangeListener>()

  /** @param historyLimit changes kept for each collection; a watch from before them gets 410. */
  constructor(historyLimit: number, state?: StoreState) {
    this.#historyLimit = historyLimit
    this.#revision = state?.revision ?? 1
    this.#floor = this.#revision
    for (const [name, objects] of Object.entries(state?.collections ?? {})) {
      const { objects: map } = this.#collection(name)
      for (const object of objects) map.set(keyOf(object), object)
    }
  }

  get revision(): number {
    return this.#revision
  }

  get state(): StoreState {
    const collections = [...this.#collections].map(([name, { objects }]) => [name, [...objects.values()]] as const)
    return { revision: this.#revision, collections: Object.fromEntries(collections) }
  }

  get collections(): readonly string[] {
    return [...this.#collections.keys()]
  }

  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  get(collection: string, key: string): StoredObject | undefined {
    return this.#collection(collection).objects.get(key)
  }

  /** All objects in the order of their keys. */
  list(collection: string): readonly StoredObject[] {
    const found = this.#collection(collection)
    found.order ??= [...found.objects.keys()].sort()
    return found.order.flatMap(key => found.objects.get(key) ?? [])
  }

  /** All objects as they were at that revision, or undefined where history does not go back so far. */
  listAt(collection: string, revision: number): readonly StoredObject[] | undefined {
    if (revision === this.#revision) return this.list(collection)
    const { objects, history } = this.#collection(collection)
    if (revision < history.floor || revision > this.#revision) return undefined
    const then = new Map(objects)
    for (const change of history.since(revision).toReversed()) {
      if (change.previous === undefined) then.delete(keyOf(change.object))
      else then.set(keyOf(change.object), change.previous)
    }
    return [...then].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object)
  }

  history(collection: string): History {
    return this.#collection(collection).history
  }

  /** Writes an object that is new or replaces the one at its key; returns it with its resourceVersion. */
  put(collection: string, object: JsonObject): StoredObject {
    const key = keyOf(object)
    const found = this.#collection(collection)
    const previous = found.objects.get(key)
    const revision = ++this.#revision
    const stored = withMeta(object, { resourceVersion: String(revision) }) as StoredObject
    found.objects.set(key, stored)
    if (previous === undefined) found.order = undefined
    this.#record(collection, { type: previous ? 'MODIFIED' : 'ADDED', revision, object: stored, previous })
    return stored
  }

  /** Removes the object at that key, if there is one; returns its last state. */
  remove(collection: string, key: string): StoredObject | undefined {
    const found = this.#collection(collection)
    const previous = found.objects.get(key)
    if (previous === undefined) return undefined
    const revision = ++this.#revision
    const object = withMeta(previous, { resourceVersion: String(revision) })
    found.objects.delete(key)
    found.order = undefined
    this.#record(collection, { type: 'DELETED', revision, object, previous })
    return object
  }

  /** Forgets the history of every collection: a watch or page from before now gets 410. */
  compact(): void {
    this.#floor = this.#revision
    for (const { history } of this.#collections.values()) history.compact(this.#revision)
  }

  #record(collection: string, change: Change): void {
    this.#collection(collection).history.add(change)
    for (const listener of this.#listeners) listener(collection, change)
  }

  #collection(name: string): Collection {
    const found = this.#collections.get(name)
    if (found !== undefined) return found
    const history = new History(this.#historyLimit, this.#floor)
    const made: Collection = { objects: new Map(), history, order: undefined }
    this.#collections.set(name, made)
    return made
  }
}
