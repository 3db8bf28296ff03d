import { type Cidr, FAMILIES, type Family, familyOf } from '#wg/ip.ts'
import type { Prefixes } from '#wg/nftables/ruleset.ts'
import { PrefixMap } from '#wg/prefix-map.ts'

/** Prefixes that several may have put there: each stays until all of them have taken it out. */
export class CountedPrefixes {
  readonly #counts = Object.fromEntries(FAMILIES.map(family => [family, new PrefixMap<number>()])) as Record<
    Family,
    PrefixMap<number>
  >

  /** Those that are there, by family. Live; whoever follows it is told what comes and what goes. */
  get byFamily(): Prefixes {
    return this.#counts
  }

  put(cidr: Cidr): void {
    const counts = this.#counts[familyOf(cidr)]
    counts.revise(cidr, (counts.get(cidr) ?? 0) + 1)
  }

  drop(cidr: Cidr): void {
    const counts = this.#counts[familyOf(cidr)]
    const left = (counts.get(cidr) ?? 0) - 1
    if (left > 0) counts.revise(cidr, left)
    else counts.delete(cidr)
  }
}
