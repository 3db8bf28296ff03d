/**
 * A map that remembers which of its keys have changed, so that whoever follows it looks at those alone. A value that is put
 * in its own place is no change.
 */
export class Table<Key, Value> extends Map<Key, Value> {
  #changed: Key[] = []
  /** How many changes there were before those that are remembered. */
  #forgotten = 0

  /** A table with these entries. */
  static from<Key, Value>(entries: Iterable<readonly [Key, Value]>): Table<Key, Value> {
    const table = new Table<Key, Value>()
    for (const [key, value] of entries) table.set(key, value)
    return table
  }

  /** How many changes there have been. */
  get edition(): number {
    return this.#forgotten + this.#changed.length
  }

  override set(key: Key, value: Value): this {
    if (this.get(key) !== value || !this.has(key)) this.#note(key)
    return super.set(key, value)
  }

  /** Puts a value in the place of one that differs from it in nothing that anybody follows: that is no change. */
  revise(key: Key, value: Value): void {
    if (this.has(key)) super.set(key, value)
    else this.set(key, value)
  }

  override delete(key: Key): boolean {
    const wasThere = super.delete(key)
    if (wasThere) this.#note(key)
    return wasThere
  }

  override clear(): void {
    for (const key of this.keys()) this.#note(key)
    super.clear()
  }

  /** Keys that have changed since an edition; undefined where that is longer ago than is remembered. */
  changedSince(edition: number): ReadonlySet<Key> | undefined {
    return edition < this.#forgotten ? undefined : new Set(this.#changed.slice(edition - this.#forgotten))
  }

  #note(key: Key): void {
    this.#changed.push(key)
    // Whoever is further behind than this may as well look at everything.
    const most = LEAST_REMEMBERED + (this.size >> 2)
    if (this.#changed.length < 2 * most) return
    this.#forgotten += most
    this.#changed = this.#changed.slice(most)
  }
}

const LEAST_REMEMBERED = 256

/** A map, a set, or whatever else has keys: those that are no Table do not tell what has changed. */
type Keyed<Key> = Pick<ReadonlySet<Key>, 'has'>

/** Goes along with what is the same table at each look, or another one. */
export class Follower<Key> {
  #table: Keyed<Key> | undefined
  #edition = 0

  /** Keys that have changed since the last look; undefined where any may have: at the first, and in another table. */
  take(table: Keyed<Key>): ReadonlySet<Key> | undefined {
    const known = table instanceof Table && table === this.#table ? table.changedSince(this.#edition) : undefined
    this.#table = table
    this.#edition = table instanceof Table ? table.edition : 0
    return known
  }
}
