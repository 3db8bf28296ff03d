import type { PublicKey } from '#keys/public-key.ts'
import { type Cidr, type Family, familyOf, hostCidr, type IpAddress } from '#wg/ip.ts'
import type { PrefixMap } from '#wg/prefix-map.ts'
import { type Claimant, ownersOf, type Refusals } from './cidr-owners.ts'
import { LANES, type Lane, type NodeName, type NodeRecord } from './node-record.ts'

/** Which node a prefix belongs to, and who else says that it is theirs. */
export interface CidrClaims {
  readonly owner: PrefixMap<NodeName>
  readonly hosts: HostClaims
  readonly refused: Refusals
  /** Of `owner`, which is live, when this was decided. */
  readonly version: number
  /** The same object for as long as `owner` and `hosts.owner` say the same: what was found to be each Node's. */
  readonly found: WeakMap<NodeRecord, ReadonlySet<Cidr>>
  /** By the claims before these. */
  readonly foundBefore: WeakMap<NodeRecord, ReadonlySet<Cidr>> | undefined
}

interface HostClaims {
  /** What it was made of. */
  readonly of: Iterable<NodeRecord>
  /** Whose address each is: nodes' own, and those of their devices. */
  readonly owner: ReadonlyMap<IpAddress, NodeName>
  readonly refused: Refusals
}

/** Which node a key is believed for, and who else announces it. */
export interface KeyClaims {
  readonly owner: ReadonlyMap<PublicKey, NodeName>
  readonly refused: Refusals
}

/** What the prefixes of nodes are, disputes settled. */
export interface CidrSource {
  /** What may be a node's, of the same record always the same; what of it is, the owners say. */
  prefixes(node: NodeRecord): Iterable<Cidr>
  owners(nodes: Iterable<NodeRecord>, family: Family): Pick<CidrClaims, 'owner' | 'refused'>
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

/** The same order on every node: the older object wins, then the lesser name. */
const elderFirst = (a: NodeRecord, b: NodeRecord): number =>
  a.createdAt - b.createdAt || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)

/**
 * Decides who owns each prefix and each single address. Of two nodes that claim the same the elder has it.
 * @param nodes a list that is the same object as the last time is taken to be the same
 * @param before what was decided last by the same source, for what has stayed to be known by its identity
 */
export function claimCidrs(
  nodes: Iterable<NodeRecord>,
  source: CidrSource,
  family: Family,
  before?: CidrClaims,
): CidrClaims {
  const { owner, refused } = source.owners(nodes, family)
  const hosts = before?.hosts.of === nodes ? before.hosts : sharedHosts(before?.hosts, claimHosts(nodes, family))
  const { version } = owner
  const same = before?.hosts.owner === hosts.owner && before.owner === owner && before.version === version
  const found = same ? before.found : new WeakMap<NodeRecord, ReadonlySet<Cidr>>()
  const foundBefore = same ? before.foundBefore : before?.found
  return { owner, hosts, version, found, foundBefore, refused: mergeRefusals(refused, hosts.refused) }
}

const sharedHosts = (before: HostClaims | undefined, hosts: HostClaims): HostClaims =>
  before && sameMap(before.owner, hosts.owner) ? { ...hosts, owner: before.owner } : hosts

export function mergeRefusals(...all: readonly Refusals[]): Map<NodeName, string[]> {
  const merged = new Map<NodeName, string[]>()
  for (const refused of all)
    for (const [node, faults] of refused) merged.set(node, [...(merged.get(node) ?? []), ...faults])
  return merged
}

function sameMap<Key, Value>(a: ReadonlyMap<Key, Value>, b: ReadonlyMap<Key, Value>): boolean {
  if (a.size !== b.size) return false
  for (const [key, value] of b) if (a.get(key) !== value) return false
  return true
}

/** Two Nodes with one address, as one that was left behind has, must not take it from each other in turns. */
function claimHosts(nodes: Iterable<NodeRecord>, family: Family): HostClaims {
  const owner = new Map<IpAddress, NodeName>()
  const refused = new Map<NodeName, string[]>()
  for (const node of [...nodes].sort(elderFirst)) {
    for (const addresses of [nodeAddresses(node, family), deviceAddresses(node, family)])
      for (const address of addresses) {
        const holder = owner.get(address)
        if (holder === undefined) owner.set(address, node.name)
        else if (holder !== node.name) note(refused, node.name, `${address} belongs to ${holder}`)
      }
  }
  return { of: nodes, owner, refused }
}

/** The key that a node announces for one of its devices. */
export const announcedKey = (node: NodeRecord, family: Family, lane: Lane): PublicKey | undefined =>
  (lane === 'main' ? node.announced : node.spare)[family]?.publicKey

/** Both devices' keys, the one in use first. */
const announcedKeys = onceOf(
  (node: NodeRecord, family: Family): ReadonlySet<PublicKey> =>
    new Set(LANES.map(lane => announcedKey(node, family, lane)).filter(key => key !== undefined)),
)

/**
 * Decides which node each announced key is believed for. Incumbents, nodes whose tunnel uses the key already, come first:
 * copying a key never takes a tunnel away.
 */
export function claimKeys(
  nodes: Iterable<NodeRecord>,
  family: Family,
  self: NodeName,
  ownKeys: ReadonlySet<PublicKey>,
  incumbents: ReadonlyMap<PublicKey, NodeName>,
): KeyClaims {
  const owner = new Map<PublicKey, NodeName>()
  const refused = new Map<NodeName, string[]>()
  const claimants = [...nodes].filter(node => node.name !== self).sort(elderFirst)
  for (const node of claimants)
    for (const key of announcedKeys(node, family)) if (incumbents.get(key) === node.name) owner.set(key, node.name)
  for (const node of claimants) {
    for (const key of announcedKeys(node, family)) {
      if (owner.get(key) === node.name) continue
      const holder = owner.get(key) ?? incumbents.get(key)
      if (ownKeys.has(key)) note(refused, node.name, 'it announces the key of this node')
      else if (holder !== undefined) note(refused, node.name, `it announces the key of ${holder}`)
      else owner.set(key, node.name)
    }
  }
  return { owner, refused }
}

/**
 * All that a node may send from, and be sent to, through the tunnel: what its peers have as its allowed IPs.
 * @returns the same object as long as it says the same of the same record
 */
export function addressesOf(
  node: NodeRecord,
  family: Family,
  cidrs: CidrClaims,
  source: CidrSource,
): ReadonlySet<Cidr> {
  const known = cidrs.found.get(node)
  if (known) return known
  const all = new Set<Cidr>()
  for (const cidr of source.prefixes(node)) if (cidrs.owner.get(cidr) === node.name) all.add(cidr)
  for (const address of [...deviceAddresses(node, family), ...nodeAddresses(node, family)])
    if (mayHold(node, address, cidrs)) all.add(hostCidr(address))
  const before = cidrs.foundBefore?.get(node)
  const found = before && before.size === all.size && before.isSubsetOf(all) ? before : all
  cidrs.found.set(node, found)
  return found
}

export const nodeAddresses = onceOf((node: NodeRecord, family: Family): readonly IpAddress[] =>
  node.addresses.filter(address => familyOf(address) === family),
)

/** What the devices of a node have: of WireGuard, and of Calico's other encapsulations. */
export const deviceAddresses = onceOf(({ announced, tunnels }: NodeRecord, family: Family): readonly IpAddress[] => {
  const device = announced[family]?.interfaceAddress
  return [...(device === undefined ? [] : [device]), ...tunnels].filter(address => familyOf(address) === family)
})

/** A record never changes, so what follows from it alone is made once. */
function onceOf<Result>(
  make: (node: NodeRecord, family: Family) => Result,
): (node: NodeRecord, family: Family) => Result {
  const made = { 4: new WeakMap<NodeRecord, Result>(), 6: new WeakMap<NodeRecord, Result>() }
  return (node, family) => {
    const known = made[family].get(node)
    if (known !== undefined) return known
    const result = make(node, family)
    made[family].set(node, result)
    return result
  }
}

/** An address of another node, or inside its prefix, is not this node's to announce. */
function mayHold(node: NodeRecord, address: IpAddress, cidrs: CidrClaims): boolean {
  if ((cidrs.hosts.owner.get(address) ?? node.name) !== node.name) return false
  const around = cidrs.owner.longest(address)
  return around === undefined || around[1] === node.name
}

function note(refused: Map<NodeName, string[]>, node: NodeName, fault: string): void {
  refused.set(node, [...(refused.get(node) ?? []), fault])
}
