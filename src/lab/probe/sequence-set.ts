/** A run of numbers that never arrived. */
export interface Gap {
  readonly first: number
  readonly count: number
}

/**
 * Which of the numbers 0, 1, 2, … have been seen, one bit each: loss is known exactly, in any order of arrival, and with
 * duplicates. A million numbers take 128 KiB.
 */
export class SequenceSet {
  #bits = new Uint8Array(1024)
  #size = 0
  #duplicates = 0
  #reordered = 0
  #highest = -1
  // Below this number the missing ones are counted, so that a live figure costs no more than what is new.
  #settled = 0
  #missingSettled = 0

  /** Distinct numbers seen. */
  get size(): number {
    return this.#size
  }
  get duplicates(): number {
    return this.#duplicates
  }
  /** Numbers that came after a higher one. */
  get reordered(): number {
    return this.#reordered
  }
  /** -1 before any. */
  get highest(): number {
    return this.#highest
  }

  /** @param sequence a whole number from 0 to 2^32 - 1 */
  add(sequence: number): void {
    const byte = sequence >>> 3
    if (byte >= this.#bits.length) this.#grow(byte)
    const bit = 1 << (sequence & 7)
    const bits = this.#bits[byte] ?? 0
    if ((bits & bit) !== 0) {
      this.#duplicates++
      return
    }
    this.#bits[byte] = bits | bit
    this.#size++
    if (sequence > this.#highest) this.#highest = sequence
    else this.#reordered++
    if (sequence < this.#settled) this.#missingSettled--
  }

  has(sequence: number): boolean {
    return ((this.#bits[sequence >>> 3] ?? 0) & (1 << (sequence & 7))) !== 0
  }

  /** How many of the numbers below `end` have not been seen. `end` must not go down from one call to the next. */
  missingBelow(end: number): number {
    for (; this.#settled < end; this.#settled++) if (!this.has(this.#settled)) this.#missingSettled++
    return this.#missingSettled
  }

  /** Runs of missing numbers below `end`, in order, no more than `limit`. */
  gaps(end: number, limit: number): Gap[] {
    const found: Gap[] = []
    for (let sequence = 0; sequence < end && found.length < limit; sequence++) {
      if (this.has(sequence)) continue
      const first = sequence
      while (sequence + 1 < end && !this.has(sequence + 1)) sequence++
      found.push({ first, count: sequence - first + 1 })
    }
    return found
  }

  #grow(byte: number): void {
    const larger = new Uint8Array(Math.max(byte + 1, this.#bits.length * 2))
    larger.set(this.#bits)
    this.#bits = larger
  }
}
