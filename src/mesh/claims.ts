import { type Few, NONE, sameFew, withoutOne } from '#wg/few.ts'
import { type Cidr, cidrAddress, type Family, hostCidr, type IpAddress } from '#wg/ip.ts'
import type { PrefixMap } from '#wg/prefix-map.ts'
import { sameSet } from '#wg/same-set.ts'
import { Follower } from '#wg/table.ts'
import { type Claimant, ownersOf, type Refusals } from './cidr-owners.ts'
import { HostOwners } from './host-owners.ts'
import type { NodeName, NodeRecord } from './node-record.ts'
import { deviceAddresses, nodeAddresses } from './record-facts.ts'

/** Which node each prefix belongs to, disputes settled, and who lost one. */
export interface PrefixVerdicts {
  readonly owner: PrefixMap<NodeName>
  readonly refused: Refusals
}

/** What the prefixes of nodes are, disputes settled. */
export interface CidrSource {
  /** What may be a node's, of the same record always the same; what of it is, the owners say. */
  prefixes(node: NodeRecord): Iterable<Cidr>
  owners(nodes: Iterable<NodeRecord>, family: Family): PrefixVerdicts
}

/** Pod CIDRs as the Nodes have them. Kubernetes hands them out disjoint. */
export const podCidrSource: CidrSource = {
  prefixes: node => node.podCidrs,
  owners: (nodes, family) => {
    const owners = ownersOf(Array.from(nodes, podCidrClaimant))
    return { owner: owners.owner(family), refused: owners.refused(family) }
  },
}

export const podCidrClaimant = ({ name, createdAt, podCidrs }: NodeRecord): Claimant => ({
  id: name,
  createdAt,
  leaving: false,
  claims: podCidrs.map(cidr => ({ cidr, node: name, exclusive: true })),
})

/**
 * All that each node may send from, and be sent to, through the tunnel: what its peers have as its allowed IPs. Kept up as
 * Nodes and their prefixes change, at a cost in proportion to that.
 */
export class CidrClaims {
  readonly #family: Family
  readonly #source: CidrSource
  readonly #hosts: HostOwners
  readonly #nodes = new Map<NodeName, NodeRecord>()
  #verdicts: PrefixVerdicts
  readonly #followed = new Follower<Cidr>()
  /** The owners of prefixes when they were last looked at, and the same by node. */
  readonly #owned = new Map<Cidr, NodeName>()
  readonly #prefixes = new Map<NodeName, Few<Cidr>>()
  readonly #found = new Map<NodeName, ReadonlySet<Cidr>>()

  constructor(family: Family, source: CidrSource) {
    this.#family = family
    this.#source = source
    this.#hosts = new HostOwners(family)
    this.#verdicts = source.owners([], family)
  }

  /** Nodes as they were when they were last taken in. Live. */
  get nodes(): ReadonlyMap<NodeName, NodeRecord> {
    return this.#nodes
  }

  get owner(): PrefixMap<NodeName> {
    return this.#verdicts.owner
  }

  get refused(): Refusals {
    return mergeRefusals(this.#verdicts.refused, this.#hosts.refused)
  }

  /**
   * Takes in what has changed.
   * @param changed Nodes that are others than the last time
   * @returns those, and whoever may have other addresses or prefixes than before, whether there is such a Node or not
   */
  refresh(nodes: ReadonlyMap<NodeName, NodeRecord>, changed: Iterable<NodeName>): ReadonlySet<NodeName> {
    const touched = new Set(changed)
    for (const name of touched) {
      const node = nodes.get(name)
      this.#hosts.put(name, this.#nodes.get(name), node)
      if (node) this.#nodes.set(name, node)
      else this.#nodes.delete(name)
    }
    for (const name of this.#hosts.takeChanged()) touched.add(name)
    for (const name of this.#movePrefixes(nodes)) touched.add(name)
    for (const name of touched) this.#find(name)
    return touched
  }

  /** The same object for as long as it says the same; nothing of a node that is not there. */
  addresses(name: NodeName): ReadonlySet<Cidr> {
    return this.#found.get(name) ?? NOTHING
  }

  /** What routes lead to a node by, whether there is such a Node or not. */
  prefixes(name: NodeName): Few<Cidr> {
    return this.#prefixes.get(name) ?? NONE
  }

  /** The node that has this prefix among its addresses, if any has. */
  holder(cidr: Cidr): NodeName | undefined {
    const owners = [this.owner.get(cidr), this.#hosts.owner(cidrAddress(cidr))]
    return owners.find(name => name !== undefined && this.addresses(name).has(cidr))
  }

  /** Takes in which prefixes have changed hands. @returns whoever that may concern */
  *#movePrefixes(nodes: ReadonlyMap<NodeName, NodeRecord>): Generator<NodeName> {
    this.#verdicts = this.#source.owners(nodes.values(), this.#family)
    const { table } = this.#verdicts.owner
    const known = this.#followed.take(table)
    // Where any of them may have, whoever has addresses is concerned, and need not be looked for.
    if (!known) yield* this.#nodes.keys()
    for (const cidr of known ?? new Set([...this.#owned.keys(), ...table.keys()])) {
      const [before, after] = [this.#owned.get(cidr), table.get(cidr)]
      if (before === after) continue
      if (before !== undefined) {
        this.#owned.delete(cidr)
        const left = withoutOne(this.prefixes(before), cidr)
        if (left.length > 0) this.#prefixes.set(before, left)
        else this.#prefixes.delete(before)
        yield before
      }
      if (after !== undefined) {
        this.#owned.set(cidr, after)
        // Most often all that its Node has, which is then the same list.
        const [owned, all] = [this.prefixes(after).concat([cidr]), nodes.get(after)?.podCidrs]
        this.#prefixes.set(after, all && sameFew(all, owned) ? all : owned)
        yield after
      }
      // An address of a node's own that lies in it.
      if (known) yield* this.#hosts.within(cidr)
    }
  }

  #find(name: NodeName): void {
    const node = this.#nodes.get(name)
    const before = this.#found.get(name)
    if (!node) {
      this.#found.delete(name)
      return
    }
    const all = new Set<Cidr>()
    for (const cidr of this.#source.prefixes(node)) if (this.owner.get(cidr) === name) all.add(cidr)
    for (const address of [...deviceAddresses(node, this.#family), ...nodeAddresses(node, this.#family)])
      if (this.#mayHold(name, address)) all.add(hostCidr(address))
    if (!before || !sameSet(before, all)) this.#found.set(name, all)
  }

  /** An address of another node, or inside its prefix, is not this node's to announce. */
  #mayHold(name: NodeName, address: IpAddress): boolean {
    if ((this.#hosts.owner(address) ?? name) !== name) return false
    const around = this.owner.longest(address)
    return around === undefined || around[1] === name
  }
}

const NOTHING: ReadonlySet<Cidr> = new Set()

/** All claims of these nodes, decided at once. */
export function claimCidrs(nodes: Iterable<NodeRecord>, source: CidrSource, family: Family): CidrClaims {
  const claims = new CidrClaims(family, source)
  const byName = new Map(Array.from(nodes, node => [node.name, node]))
  claims.refresh(byName, byName.keys())
  return claims
}

export function mergeRefusals(...all: readonly Refusals[]): Refusals {
  const merged = new Map<NodeName, readonly string[]>()
  for (const refused of all)
    for (const [node, faults] of refused) merged.set(node, [...(merged.get(node) ?? []), ...faults])
  return merged
}
