import type { ApiError } from './status.ts'
import type { Store } from './store.ts'
import type { Watch } from './watch.ts'

/** All open watches. They are told of changes once a turn of the event loop, however many changes there were. */
export class Watches {
  readonly #open = new Map<Watch, () => void>()
  readonly #dirty = new Set<string>()
  #silent = false

  constructor(store: Store) {
    store.onChange(collection => {
      if (this.#dirty.size === 0) setImmediate(() => this.#pumpDirty())
      this.#dirty.add(collection)
    })
  }

  get size(): number {
    return this.#open.size
  }

  /** @param destroy cuts the client's connection. */
  add(watch: Watch, destroy: () => void): void {
    this.#open.set(watch, destroy)
    if (!this.#silent) watch.pump()
  }

  delete(watch: Watch): void {
    this.#open.delete(watch)
  }

  /** While silent, watches stay open and say nothing; what they missed follows after. */
  set silent(silent: boolean) {
    this.#silent = silent
    if (!silent) this.pumpAll()
  }

  get silent(): boolean {
    return this.#silent
  }

  /** The client of that watch has caught up with what was written. */
  drained(watch: Watch): void {
    watch.unblock()
    if (!this.#silent) watch.pump()
  }

  bookmark(watch: Watch): void {
    if (!this.#silent) watch.bookmark()
  }

  pumpAll(): void {
    for (const watch of this.#open.keys()) watch.pump()
  }

  /** Cuts every watch in the middle, as a network or a server that dies does. */
  drop(): void {
    for (const destroy of this.#open.values()) destroy()
  }

  /** Ends every watch with an error in its stream. */
  fail(error: ApiError): void {
    for (const watch of this.#open.keys()) watch.fail(error)
  }

  /** Ends every watch in good order. */
  end(): void {
    for (const watch of this.#open.keys()) watch.end()
  }

  #pumpDirty(): void {
    const collections = new Set(this.#dirty)
    this.#dirty.clear()
    if (this.#silent) return
    for (const watch of this.#open.keys()) if (collections.has(watch.collection)) watch.pump()
  }
}
