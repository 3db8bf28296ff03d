import { isDeepStrictEqual } from 'node:util'
import { clip, member, messageOf, objectOf, textOf } from './hostile.ts'

export interface Projection<T> {
  /** What is kept of an object; undefined for one that is of no interest. What it throws is reported as a fault. */
  readonly project: (raw: unknown) => T | undefined
  /** Called with a sentence for an object that cannot be read, which is then not kept. */
  readonly onFault: (sentence: string) => void
}

/** What of a raw object the mirror itself needs. */
interface Identity {
  /** `namespace/name`, or the name of a cluster-scoped object. */
  readonly key: string
  readonly resourceVersion: string
}

export type Change<T> =
  | { readonly kind: 'upserted'; readonly key: string; readonly value: T }
  | { readonly kind: 'deleted'; readonly key: string }
  | { readonly kind: 'none' }

const NONE = { kind: 'none' } as const

/** A copy of a collection of the API server that keeps only projected values. It changes one object at a time or as a whole. */
export class Mirror<T> {
  readonly #projection: Projection<T>
  #items = new Map<string, T>()
  /** By the same keys. */
  #versions = new Map<string, string>()

  constructor(projection: Projection<T>) {
    this.#projection = projection
  }

  /** Live: what `put` and `delete` change is seen through it; `replace` makes another. */
  get items(): ReadonlyMap<string, T> {
    return this.#items
  }

  /** The resourceVersion of what was last put under that key; empty where there is nothing. */
  versionOf(key: string): string {
    return this.#versions.get(key) ?? ''
  }

  /**
   * Takes in an object as the server sent it. One of the resourceVersion that is held already changes nothing; nor does one of
   * which the same is kept as before, such as a Node with another heartbeat.
   */
  put(raw: unknown): Change<T> {
    const identity = this.#identify(raw)
    if (!identity) return NONE
    const { key, resourceVersion } = identity
    if (this.#versions.get(key) === resourceVersion) return NONE
    const value = this.#project(raw, identity)
    if (value === undefined) return this.#remove(key)
    this.#versions.set(key, resourceVersion)
    if (isDeepStrictEqual(this.#items.get(key), value)) return NONE
    this.#items.set(key, value)
    return { kind: 'upserted', key, value }
  }

  delete(raw: unknown): Change<T> {
    const identity = this.#identify(raw)
    return identity ? this.#remove(identity.key) : NONE
  }

  /** An empty mirror that takes values over from this one where their resourceVersion is the same. */
  draft(): Mirror<T> {
    const draft = new Mirror(this.#projection)
    draft.#known = this
    return draft
  }

  /** Holds what the draft holds, and nothing else. */
  replace(draft: Mirror<T>): void {
    this.#items = draft.#items
    this.#versions = draft.#versions
  }

  /** The mirror that this is a draft of. */
  #known: Mirror<T> | undefined

  #project(raw: unknown, { key, resourceVersion }: Identity): T | undefined {
    const known = this.#known
    if (known && known.#versions.get(key) === resourceVersion) return known.#items.get(key)
    try {
      return this.#projection.project(raw)
    } catch (error) {
      this.#projection.onFault(`${clip(key, 128)}: ${messageOf(error)}`)
      return undefined
    }
  }

  #remove(key: string): Change<T> {
    this.#versions.delete(key)
    return this.#items.delete(key) ? { kind: 'deleted', key } : NONE
  }

  #identify(raw: unknown): Identity | undefined {
    const metadata = objectOf(member(objectOf(raw), 'metadata'))
    const name = textOf(member(metadata, 'name'), 253)
    const namespace = textOf(member(metadata, 'namespace'), 253)
    const resourceVersion = textOf(member(metadata, 'resourceVersion'), 256)
    if (!name || !resourceVersion) {
      this.#projection.onFault('an object has no usable metadata.name and metadata.resourceVersion')
      return undefined
    }
    return { key: namespace ? `${namespace}/${name}` : name, resourceVersion }
  }
}
