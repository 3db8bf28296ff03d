import { type Few, few, NONE, sameFew, withOne, withoutOne } from '#wg/few.ts'
import { addressBits, type Cidr, cidrBytes, cidrContains, cidrFromBytes, familyOf, prefixLength } from '#wg/ip.ts'
import { PrefixMap } from '#wg/prefix-map.ts'
import type { NodeName } from './node-record.ts'

/**
 * Where each node's pods are, for those that know no longest prefix: an address that another node borrowed is cut out of the
 * block that it lies in, so that none is on two nodes, unless both claim the same prefix. What is said depends on the claims
 * alone, never on the order in which they came; the work of a change is in proportion to what overlaps it.
 */
export class Territories {
  readonly #podCidrs = new Map<NodeName, Few<Cidr>>()
  /** Nearly always one for each. */
  readonly #claimants = new PrefixMap<Few<NodeName>>()
  readonly #found = new Map<NodeName, Few<Cidr>>()
  readonly #unsettled = new Set<NodeName>()

  /** Takes in the prefixes that a node has now; none for one that is gone. */
  put(name: NodeName, podCidrs: Few<Cidr>): void {
    const before = this.#podCidrs.get(name) ?? NONE
    if (sameFew(before, podCidrs)) return
    if (podCidrs.length > 0) this.#podCidrs.set(name, podCidrs)
    else this.#podCidrs.delete(name)
    for (const cidr of before)
      if (!podCidrs.includes(cidr)) this.#claim(cidr, withoutOne(this.#claimantsOf(cidr), name))
    for (const cidr of podCidrs) if (!before.includes(cidr)) this.#claim(cidr, withOne(this.#claimantsOf(cidr), name))
    this.#unsettled.add(name)
  }

  of(name: NodeName): Few<Cidr> {
    return this.#found.get(name) ?? NONE
  }

  /** Nodes whose pods are elsewhere than when this was last asked. To be taken to the end. */
  *takeChanged(): Generator<NodeName> {
    for (const name of this.#unsettled) {
      this.#unsettled.delete(name)
      if (this.#settle(name)) yield name
    }
  }

  #claimantsOf(cidr: Cidr): Few<NodeName> {
    return this.#claimants.get(cidr) ?? NONE
  }

  #claim(cidr: Cidr, claimants: Few<NodeName>): void {
    if (claimants.length > 0) this.#claimants.set(cidr, claimants)
    else this.#claimants.delete(cidr)
    for (const name of claimants) this.#unsettled.add(name)
    for (let around = this.#claimants.parent(cidr); around; around = this.#claimants.parent(around[0]))
      for (const name of around[1]) this.#unsettled.add(name)
  }

  #settle(name: NodeName): boolean {
    const pods = this.#podCidrs.get(name) ?? NONE
    const rest = few(pods.flatMap(cidr => without(cidr, this.#holes(cidr, name))))
    // Most often nobody has borrowed anything: then it is the same list.
    const found = sameFew(rest, pods) ? pods : rest
    if (sameFew(this.of(name), found)) return false
    if (found.length > 0) this.#found.set(name, found)
    else this.#found.delete(name)
    return true
  }

  /** What others have within a prefix of this node, or within one of its own in that. */
  #holes(cidr: Cidr, name: NodeName): readonly Cidr[] {
    const isIts = (inner: Cidr | undefined) => inner !== undefined && this.#claimantsOf(inner).includes(name)
    return this.#claimants
      .within(cidr)
      .filter(inner => !isIts(inner) && isIts(this.#claimants.parent(inner)?.[0]))
      .toArray()
  }
}

/** The fewest prefixes that make up `cidr` less the holes, all of which lie in it. */
export function without(cidr: Cidr, holes: readonly Cidr[]): readonly Cidr[] {
  if (holes.length === 0) return [cidr]
  if (holes.includes(cidr)) return []
  return halves(cidr).flatMap(half =>
    without(
      half,
      holes.filter(hole => cidrContains(half, hole)),
    ),
  )
}

function halves(cidr: Cidr): readonly Cidr[] {
  const length = prefixLength(cidr) + 1
  if (length > addressBits(familyOf(cidr))) return []
  const upper = Uint8Array.from(cidrBytes(cidr))
  const at = (length - 1) >> 3
  upper[at] = (upper[at] ?? 0) | (0x80 >> ((length - 1) & 7))
  return [cidrFromBytes(cidrBytes(cidr), length), cidrFromBytes(upper, length)]
}
