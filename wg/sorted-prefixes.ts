import { type Cidr, cidrBytes, cidrContains, cidrFromBytes, prefixLength } from './ip.ts'

/**
 * What stands for a prefix, in the order of addresses, wider before narrower. Of IPv4 it is a number, which takes 8 bytes where a
 * text takes 50.
 */
type Key = number | string

/** Prefixes of one family in the order of their addresses, wider before narrower: all that lies in one follows it at once. */
export class SortedPrefixes {
  /** Of which the prefixes are made again where they are asked for. */
  readonly #keys: Key[] = []

  constructor(cidrs: Iterable<Cidr> = []) {
    const keys = [...new Set(Array.from(cidrs, sortKey))].sort((a, b) => (a < b ? -1 : 1))
    // A list that has had nothing but numbers keeps them in place.
    for (const key of keys) this.#keys.push(key)
  }

  add(cidr: Cidr): void {
    const key = sortKey(cidr)
    const at = this.#place(key)
    if (this.#keys[at] === key) return
    this.#keys.splice(at, 0, key)
  }

  delete(cidr: Cidr): void {
    const key = sortKey(cidr)
    const at = this.#place(key)
    if (this.#keys[at] === key) this.#keys.splice(at, 1)
  }

  /** The prefixes that lie in `cidr`, itself left out. */
  *within(cidr: Cidr): Generator<Cidr> {
    const key = sortKey(cidr)
    for (let at = this.#place(key); at < this.#keys.length; at++) {
      const other = this.#keys[at] as Key
      if (other === key) continue
      const inner = cidrOf(other)
      if (!cidrContains(cidr, inner)) return
      yield inner
    }
  }

  /** Index of the first key that is not less. */
  #place(key: Key): number {
    let from = 0
    let to = this.#keys.length
    while (from < to) {
      const middle = (from + to) >> 1
      if ((this.#keys[middle] as Key) < key) from = middle + 1
      else to = middle
    }
    return from
  }
}

/** Digits of the length in a text. */
const DIGITS = 3
/** More than any length of IPv4. */
const LENGTHS = 64

function sortKey(cidr: Cidr): Key {
  const bytes = Buffer.from(cidrBytes(cidr))
  const length = prefixLength(cidr)
  return bytes.length === 4
    ? bytes.readUInt32BE() * LENGTHS + length
    : bytes.toString('hex') + String(length).padStart(DIGITS, '0')
}

function cidrOf(key: Key): Cidr {
  if (typeof key === 'string')
    return cidrFromBytes(Buffer.from(key.slice(0, -DIGITS), 'hex'), Number(key.slice(-DIGITS)))
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(Math.floor(key / LENGTHS))
  return cidrFromBytes(bytes, key % LENGTHS)
}
