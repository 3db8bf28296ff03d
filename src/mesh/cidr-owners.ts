import { type Few, few, NONE, sameFew, withOne, withoutOne } from '#wg/few.ts'
import { type Cidr, type Family, familyOf, prefixLength } from '#wg/ip.ts'
import { PrefixMap } from '#wg/prefix-map.ts'
import type { NodeName } from './node-record.ts'

/** Who says which prefixes are whose: a Node, a block of Calico's IPAM, a Pod. */
export interface Claimant {
  /** As people know it, and unique: `node-1`, `IPAM block 10.65.0.0/26`. */
  readonly id: string
  /** Unix time in seconds: of two claimants the older has it. */
  readonly createdAt: number
  /** It is on its way out: whoever is not comes before it, whatever the age. */
  readonly leaving: boolean
  readonly claims: readonly CidrClaim[]
}

type Rank = Pick<Claimant, 'id' | 'createdAt' | 'leaving'>

/** What is kept of a claimant: not itself, of which an earlier version would be kept with all its claims. */
interface Known {
  readonly by: Rank
  readonly cidrs: Few<Cidr>
}

export interface CidrClaim {
  readonly cidr: Cidr
  readonly node: NodeName
  /**
   * Such prefixes are handed out disjoint, so that one inside or around that of another node is a mistake or a theft. Any
   * other claim may lie in another node's prefix, as a borrowed address does, and is the longer one.
   */
  readonly exclusive: boolean
}

/** One sentence for each claim that lost, by the node that would have had it. */
export type Refusals = ReadonlyMap<NodeName, readonly string[]>

interface Held {
  readonly node: NodeName
  readonly exclusive: boolean
  readonly by: Rank
}

/** Every node's own claims are of the claimant that is called like it; others are named where they lose. */
const nameOf = ({ by, node }: Held): string => (by.id === node ? '' : ` (${by.id})`)

/** The same order on every node: who stays before who leaves, then the older, then the lesser name. */
const precedes = (a: Rank, b: Rank): boolean => {
  if (a.leaving !== b.leaving) return b.leaving
  if (a.createdAt !== b.createdAt) return a.createdAt < b.createdAt
  return a.id < b.id
}

/**
 * Which node each prefix belongs to, all disputes settled. The verdict depends on the claims alone, never on the order in
 * which they came; the work of a change is in proportion to what overlaps it.
 */
export class CidrOwners {
  readonly #claimants = new Map<string, Known>()
  /** Nearly always one for each. */
  readonly #claims = new Map<Cidr, Few<Held>>()
  /** Who comes first of those that claim a prefix, where that is exclusive: to find what lies around one and in it. */
  readonly #around: Record<Family, PrefixMap<Held>> = { 4: new PrefixMap(), 6: new PrefixMap() }
  readonly #owner: Record<Family, PrefixMap<NodeName>> = { 4: new PrefixMap(), 6: new PrefixMap() }
  readonly #held = new Map<NodeName, Few<Cidr>>()
  readonly #reserved = new Map<Cidr, Few<NodeName>>()
  readonly #reserves = new Map<NodeName, Few<Cidr>>()
  readonly #refused: Record<Family, Map<Cidr, readonly (readonly [NodeName, string])[]>> = {
    4: new Map(),
    6: new Map(),
  }
  #changed = new Set<NodeName>()

  /** Takes in what a claimant says now, in place of what it said before. */
  put(claimant: Claimant): void {
    const before = this.#claimants.get(claimant.id)
    const { id, createdAt, leaving } = claimant
    const same = before?.by.createdAt === createdAt && before.by.leaving === leaving
    const by = same ? before.by : { id, createdAt, leaving }
    const now = new Map(claimant.claims.map(claim => [claim.cidr, claim]))
    const firsts = new Map<Cidr, Held | undefined>()
    for (const cidr of before?.cidrs ?? NONE) {
      if (now.has(cidr)) continue
      firsts.set(cidr, this.#firstOf(cidr))
      this.#drop(cidr, id)
    }
    for (const { cidr, node, exclusive } of now.values()) {
      const others = this.#claims.get(cidr) ?? []
      const held = others.find(one => one.by.id === id)
      if (same && held?.node === node && held.exclusive === exclusive) continue
      firsts.set(cidr, this.#firstOf(cidr))
      this.#claims.set(cidr, few([...others.filter(one => one !== held), { node, exclusive, by }]))
    }
    this.#claimants.set(id, { by, cidrs: few(now.keys()) })
    for (const [cidr, first] of firsts) this.#settle(cidr, first)
  }

  remove(id: string): void {
    const before = this.#claimants.get(id)
    this.#claimants.delete(id)
    for (const cidr of before?.cidrs ?? NONE) {
      const first = this.#firstOf(cidr)
      this.#drop(cidr, id)
      this.#settle(cidr, first)
    }
  }

  /** Takes in what there is now in place of all that there was. */
  replace(claimants: Iterable<Claimant>): void {
    const gone = new Set(this.#claimants.keys())
    for (const claimant of claimants) {
      gone.delete(claimant.id)
      this.put(claimant)
    }
    for (const id of gone) this.remove(id)
  }

  /** Says what a node's own addresses are, in place of what it had before: nobody's pod has one of them. */
  reserve(node: NodeName, cidrs: Few<Cidr>): void {
    const before = this.#reserves.get(node) ?? NONE
    if (cidrs.length > 0) this.#reserves.set(node, cidrs)
    else this.#reserves.delete(node)
    for (const cidr of before.filter(cidr => !cidrs.includes(cidr))) {
      const first = this.#firstOf(cidr)
      const rest = withoutOne(this.#reserved.get(cidr) ?? NONE, node)
      if (rest.length > 0) this.#reserved.set(cidr, rest)
      else this.#reserved.delete(cidr)
      this.#settle(cidr, first)
    }
    for (const cidr of cidrs.filter(cidr => !before.includes(cidr))) {
      const first = this.#firstOf(cidr)
      this.#reserved.set(cidr, withOne(this.#reserved.get(cidr) ?? NONE, node))
      this.#settle(cidr, first)
    }
  }

  /** Live. */
  owner(family: Family): PrefixMap<NodeName> {
    return this.#owner[family]
  }

  /** Both families. */
  of(node: NodeName): Few<Cidr> {
    return this.#held.get(node) ?? NONE
  }

  refused(family: Family): Refusals {
    const refused = new Map<NodeName, string[]>()
    for (const verdicts of this.#refused[family].values())
      for (const [node, sentence] of verdicts) refused.set(node, [...(refused.get(node) ?? []), sentence])
    return refused
  }

  /** Nodes whose prefixes have changed since this was last asked. */
  takeChanged(): ReadonlySet<NodeName> {
    const changed = this.#changed
    this.#changed = new Set()
    return changed
  }

  #drop(cidr: Cidr, id: string): void {
    const rest = few(this.#claims.get(cidr)?.filter(({ by }) => by.id !== id) ?? NONE)
    if (rest.length > 0) this.#claims.set(cidr, rest)
    else this.#claims.delete(cidr)
  }

  /**
   * Decides anew whose the prefix is, and with it all exclusive ones that overlap it.
   * @param before who came first until now
   */
  #settle(cidr: Cidr, before: Held | undefined): void {
    const family = familyOf(cidr)
    const first = this.#firstOf(cidr)
    if (first?.exclusive) this.#around[family].set(cidr, first)
    else if (before?.exclusive) this.#around[family].delete(cidr)
    this.#judge(cidr)
    if (before === first || !(before?.exclusive || first?.exclusive)) return
    for (const other of this.#overlapping(cidr)) this.#judge(other)
  }

  /** Who comes first of those that claim exactly this prefix. */
  #firstOf(cidr: Cidr): Held | undefined {
    if (this.#reserved.has(cidr)) return undefined
    let first: Held | undefined
    for (const held of this.#claims.get(cidr) ?? [])
      if (first === undefined || precedes(held.by, first.by)) first = held
    return first
  }

  /** Exclusive prefixes around this one and in it. */
  *#overlapping(cidr: Cidr): Generator<Cidr> {
    const around = this.#around[familyOf(cidr)]
    for (let wider = around.parent(cidr); wider; wider = around.parent(wider[0])) yield wider[0]
    yield* around.within(cidr)
  }

  #judge(cidr: Cidr): void {
    const first = this.#firstOf(cidr)
    const refused: (readonly [NodeName, string])[] = []
    for (const held of this.#claims.get(cidr) ?? []) {
      const reserved = this.#reserved.get(cidr)
      if (reserved)
        refused.push([
          held.node,
          `${cidr}${nameOf(held)} is an address of ${[...reserved].sort().join(' and ')} itself`,
        ])
      else if (first && first.node !== held.node)
        refused.push([held.node, `${cidr}${nameOf(held)} belongs to ${first.node}${nameOf(first)}`])
    }
    let lost = false
    if (first?.exclusive)
      for (const [other, { node, by }] of this.#rivals(cidr, first)) {
        if (precedes(first.by, by)) continue
        lost = true
        const fault =
          prefixLength(other) < prefixLength(cidr)
            ? `${cidr}${nameOf(first)} lies inside ${other} of ${node}`
            : `${cidr}${nameOf(first)} lies around ${other} of ${node}`
        refused.push([first.node, fault])
      }
    if (refused.length > 0) this.#refused[familyOf(cidr)].set(cidr, refused)
    else this.#refused[familyOf(cidr)].delete(cidr)
    this.#give(cidr, lost ? undefined : first?.node)
  }

  /** A claimant is in no dispute with itself. */
  *#rivals(cidr: Cidr, { node, by }: Held): Generator<[Cidr, Held]> {
    for (const other of this.#overlapping(cidr)) {
      const held = this.#around[familyOf(cidr)].get(other)
      if (held && held.node !== node && held.by.id !== by.id) yield [other, held]
    }
  }

  #give(cidr: Cidr, node: NodeName | undefined): void {
    const owner = this.#owner[familyOf(cidr)]
    const before = owner.get(cidr)
    if (before === node) return
    if (before !== undefined) {
      const left = withoutOne(this.of(before), cidr)
      if (left.length > 0) this.#held.set(before, left)
      else this.#held.delete(before)
      this.#changed.add(before)
    }
    if (node === undefined) owner.delete(cidr)
    else {
      owner.set(cidr, node)
      // Most often all that it claims, which is then the same list.
      const [held, claimed] = [this.of(node).concat([cidr]), this.#claimants.get(node)?.cidrs]
      this.#held.set(node, claimed && sameFew(claimed, held) ? claimed : held)
      this.#changed.add(node)
    }
  }
}

/** All of these claims at once. */
export function ownersOf(claimants: Iterable<Claimant>): CidrOwners {
  const owners = new CidrOwners()
  for (const claimant of claimants) owners.put(claimant)
  return owners
}
