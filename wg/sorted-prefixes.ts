import { type Cidr, cidrBytes, cidrContains, cidrFromBytes, prefixLength } from './ip.ts'

/** Prefixes of one family in the order of their addresses, wider before narrower: all that lies in one follows it at once. */
export class SortedPrefixes {
  /** Of which the prefixes are made again where they are asked for. */
  readonly #keys: string[]

  constructor(cidrs: Iterable<Cidr> = []) {
    this.#keys = [...new Set(Array.from(cidrs, sortKey))].sort()
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
      const other = this.#keys[at] as string
      if (other === key) continue
      const inner = cidrOf(other)
      if (!cidrContains(cidr, inner)) return
      yield inner
    }
  }

  /** Index of the first key that is not less. */
  #place(key: string): number {
    let from = 0
    let to = this.#keys.length
    while (from < to) {
      const middle = (from + to) >> 1
      if ((this.#keys[middle] as string) < key) from = middle + 1
      else to = middle
    }
    return from
  }
}

/** Digits of the length in the key. */
const LENGTH = 3

const sortKey = (cidr: Cidr): string =>
  Buffer.from(cidrBytes(cidr)).toString('hex') + String(prefixLength(cidr)).padStart(LENGTH, '0')

const cidrOf = (key: string): Cidr =>
  cidrFromBytes(Buffer.from(key.slice(0, -LENGTH), 'hex'), Number(key.slice(-LENGTH)))
