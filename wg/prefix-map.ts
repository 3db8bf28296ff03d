import {
  addressBits,
  addressBytes,
  type Cidr,
  cidrBytes,
  cidrFromBytes,
  type Family,
  familyOf,
  type IpAddress,
  prefixLength,
} from './ip.ts'
import { SortedPrefixes } from './sorted-prefixes.ts'
import { Table } from './table.ts'

/** A map from prefixes to values that finds what encloses an address, at a cost of one look-up for each length in use, and what lies in a prefix. */
export class PrefixMap<Value> implements Iterable<[Cidr, Value]> {
  readonly #values = new Table<Cidr, Value>()
  /** How many prefixes there are of each length, by family. */
  readonly #counts: Record<Family, Map<number, number>> = { 4: new Map(), 6: new Map() }
  /** Lengths in use, the longest first. */
  readonly #lengths: Record<Family, readonly number[]> = { 4: [], 6: [] }
  /** Made when somebody first asks what lies in a prefix: most often all are of one length. */
  readonly #sorted: Record<Family, SortedPrefixes | undefined> = { 4: undefined, 6: undefined }

  /** By prefix. Live, for those who follow what changes. */
  get table(): ReadonlyMap<Cidr, Value> {
    return this.#values
  }

  get size(): number {
    return this.#values.size
  }

  get(cidr: Cidr): Value | undefined {
    return this.#values.get(cidr)
  }

  set(cidr: Cidr, value: Value): this {
    if (!this.#values.has(cidr)) {
      this.#count(cidr, 1)
      this.#sorted[familyOf(cidr)]?.add(cidr)
    }
    this.#values.set(cidr, value)
    return this
  }

  /** Puts a value in the place of one that differs from it in nothing that anybody follows. */
  revise(cidr: Cidr, value: Value): void {
    if (this.#values.has(cidr)) this.#values.revise(cidr, value)
    else this.set(cidr, value)
  }

  delete(cidr: Cidr): boolean {
    if (!this.#values.delete(cidr)) return false
    this.#count(cidr, -1)
    this.#sorted[familyOf(cidr)]?.delete(cidr)
    return true
  }

  [Symbol.iterator](): Iterator<[Cidr, Value]> {
    return this.#values[Symbol.iterator]()
  }

  /** The prefixes that lie in `cidr`, itself left out, in order. */
  *within(cidr: Cidr): Generator<Cidr> {
    const family = familyOf(cidr)
    if ((this.#lengths[family][0] ?? 0) <= prefixLength(cidr)) return
    const ofFamily = () => this.#values.keys().filter(one => familyOf(one) === family)
    this.#sorted[family] ??= new SortedPrefixes(ofFamily())
    yield* this.#sorted[family].within(cidr)
  }

  /** The longest prefix that holds the address. */
  longest(address: IpAddress): [Cidr, Value] | undefined {
    return this.#around(() => addressBytes(address), familyOf(address), addressBits(familyOf(address)))
  }

  /** The longest prefix that holds all of `cidr` and is shorter than it. */
  parent(cidr: Cidr): [Cidr, Value] | undefined {
    return this.#around(() => cidrBytes(cidr), familyOf(cidr), prefixLength(cidr) - 1)
  }

  /** @param bytesOf called only when there are prefixes to compare with: most often all are of one length */
  #around(bytesOf: () => Uint8Array, family: Family, atMost: number): [Cidr, Value] | undefined {
    const lengths = this.#lengths[family]
    const shortest = lengths.at(-1)
    if (shortest === undefined || shortest > atMost) return undefined
    const bytes = bytesOf()
    for (const length of lengths) {
      if (length > atMost) continue
      const cidr = cidrFromBytes(bytes, length)
      const value = this.#values.get(cidr)
      if (value !== undefined) return [cidr, value]
    }
    return undefined
  }

  #count(cidr: Cidr, change: 1 | -1): void {
    const family = familyOf(cidr)
    const counts = this.#counts[family]
    const length = prefixLength(cidr)
    const before = counts.get(length) ?? 0
    counts.set(length, before + change)
    if (before > 0 && before + change > 0) return
    if (before + change === 0) counts.delete(length)
    this.#lengths[family] = [...counts.keys()].sort((a, b) => b - a)
  }
}
