import { type Cidr, cidrBytes, cidrContains, prefixLength } from './ip.ts'

/** Prefixes of one family in the order of their addresses, wider before narrower: all that lies in one follows it at once. */
export class SortedPrefixes {
  readonly #keys: string[] = []
  readonly #cidrs: Cidr[] = []

  add(cidr: Cidr): void {
    const key = sortKey(cidr)
    const at = this.#place(key)
    if (this.#keys[at] === key) return
    this.#keys.splice(at, 0, key)
    this.#cidrs.splice(at, 0, cidr)
  }

  delete(cidr: Cidr): void {
    const key = sortKey(cidr)
    const at = this.#place(key)
    if (this.#keys[at] !== key) return
    this.#keys.splice(at, 1)
    this.#cidrs.splice(at, 1)
  }

  /** The prefixes that lie in `cidr`, itself left out. */
  *within(cidr: Cidr): Generator<Cidr> {
    const key = sortKey(cidr)
    for (let at = this.#place(key); at < this.#cidrs.length; at++) {
      const inner = this.#cidrs[at] as Cidr
      if (this.#keys[at] === key) continue
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

const sortKey = (cidr: Cidr): string =>
  Buffer.from(cidrBytes(cidr)).toString('hex') + String(prefixLength(cidr)).padStart(3, '0')
