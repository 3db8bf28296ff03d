import type { StoredObject } from './object.ts'

/** One write, as history, watchers and the journal see it. A deletion carries the last state at the deletion's revision. */
export interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly revision: number
  readonly object: StoredObject
  readonly previous: StoredObject | undefined
}

/** The last changes of one collection, oldest first: what a watch from an earlier resourceVersion is answered from. */
export class History {
  readonly #limit: number
  #changes: Change[] = []
  #floor: number

  /** @param floor the revision that history begins after. */
  constructor(limit: number, floor: number) {
    this.#limit = limit
    this.#floor = floor
  }

  /** The oldest revision that a watch can start from: everything after it is known. */
  get floor(): number {
    return this.#floor
  }

  add(change: Change): void {
    this.#changes.push(change)
    // Dropping half at once keeps the cost of a write constant; a history is between half full and full.
    if (this.#changes.length > this.#limit) this.#drop(this.#changes.length - Math.ceil(this.#limit / 2))
  }

  /** Changes after that revision. Meaningful only where the revision is not below the floor. */
  since(revision: number): readonly Change[] {
    return this.#changes.slice(this.#firstAfter(revision))
  }

  /** Forgets everything up to that revision. */
  compact(revision: number): void {
    this.#changes = this.#changes.slice(this.#firstAfter(revision))
    this.#floor = Math.max(this.#floor, revision)
  }

  #drop(count: number): void {
    const last = this.#changes[count - 1]
    if (last !== undefined) this.compact(last.revision)
  }

  #firstAfter(revision: number): number {
    let low = 0
    let high = this.#changes.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const change = this.#changes[middle]
      if (change !== undefined && change.revision <= revision) low = middle + 1
      else high = middle
    }
    return low
  }
}
