import type { PublicKey } from '#keys/public-key.ts'
import { type Cidr, type Family, familyOf, hostCidr, type IpAddress } from '#wg/ip.ts'
import { PrefixMap } from '#wg/prefix-map.ts'
import type { NodeName, NodeRecord } from './node-record.ts'

/** One sentence for each claim that lost, by the node that made it. */
type Refusals = ReadonlyMap<NodeName, readonly string[]>

/** Which node a prefix belongs to, and who else says that it is theirs. */
export interface CidrClaims {
  readonly owner: PrefixMap<NodeName>
  /** Whose address each is: nodes' own, and those of their devices. */
  readonly hosts: ReadonlyMap<IpAddress, NodeName>
  readonly refused: Refusals
}

/** Which node a key is believed for, and who else announces it. */
export interface KeyClaims {
  readonly owner: ReadonlyMap<PublicKey, NodeName>
  readonly refused: Refusals
}

/** A source of prefixes that belong to nodes: pod CIDRs today; IPAM blocks and workload addresses are others. */
export type CidrSource = (node: NodeRecord) => Iterable<Cidr>

export const podCidrSource: CidrSource = node => node.podCidrs

/** The same order on every node: the older object wins, then the lesser name. */
const elderFirst = (a: NodeRecord, b: NodeRecord): number =>
  a.createdAt - b.createdAt || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)

/**
 * Decides who owns each prefix and each single address. A prefix inside another node's, or around it, is refused as well:
 * with pod CIDRs, which Kubernetes hands out disjoint, an overlap is a mistake or a theft. Of two nodes that claim the
 * same the elder has it.
 */
export function claimCidrs(nodes: Iterable<NodeRecord>, source: CidrSource, family: Family): CidrClaims {
  const elders = [...nodes].sort(elderFirst)
  const rank = new Map(elders.map((node, index) => [node.name, index]))
  const owner = new PrefixMap<NodeName>()
  const refused = new Map<NodeName, string[]>()
  for (const node of elders) {
    for (const cidr of source(node)) {
      if (familyOf(cidr) !== family) continue
      const holder = owner.get(cidr)
      if (holder === undefined) owner.set(cidr, node.name)
      else if (holder !== node.name) note(refused, node.name, `${cidr} belongs to ${holder}`)
    }
  }
  // All overlaps are found before any of them is settled, so that the order in which they are found is none of the verdict.
  const lost = new Set<Cidr>()
  for (const [cidr, node] of owner) {
    for (let around = owner.parent(cidr); around; around = owner.parent(around[0])) {
      const [wider, other] = around
      if (other === node) continue
      const younger = (rank.get(other) ?? 0) > (rank.get(node) ?? 0)
      lost.add(younger ? wider : cidr)
      if (younger) note(refused, other, `${wider} lies around ${cidr} of ${node}`)
      else note(refused, node, `${cidr} lies inside ${wider} of ${other}`)
    }
  }
  for (const cidr of lost) owner.delete(cidr)
  return { owner, hosts: claimHosts(elders, family, refused), refused }
}

/** Two Nodes with one address, as one that was left behind has, must not take it from each other in turns. */
function claimHosts(
  elders: readonly NodeRecord[],
  family: Family,
  refused: Map<NodeName, string[]>,
): Map<IpAddress, NodeName> {
  const hosts = new Map<IpAddress, NodeName>()
  for (const node of elders) {
    const device = node.announced[family]?.interfaceAddress
    for (const address of [...nodeAddresses(node, family), ...(device === undefined ? [] : [device])]) {
      const holder = hosts.get(address)
      if (holder === undefined) hosts.set(address, node.name)
      else if (holder !== node.name) note(refused, node.name, `${address} belongs to ${holder}`)
    }
  }
  return hosts
}

/**
 * Decides which node each announced key is believed for. Incumbents, nodes whose tunnel uses the key already, come first:
 * copying a key never takes a tunnel away.
 */
export function claimKeys(
  nodes: Iterable<NodeRecord>,
  family: Family,
  self: NodeName,
  ownKey: PublicKey | undefined,
  incumbents: ReadonlyMap<PublicKey, NodeName>,
): KeyClaims {
  const owner = new Map<PublicKey, NodeName>()
  const refused = new Map<NodeName, string[]>()
  const claimants = [...nodes].filter(node => node.name !== self && node.announced[family]).sort(elderFirst)
  for (const node of claimants) {
    const key = node.announced[family]?.publicKey
    if (key !== undefined && incumbents.get(key) === node.name) owner.set(key, node.name)
  }
  for (const node of claimants) {
    const key = node.announced[family]?.publicKey
    if (key === undefined || owner.get(key) === node.name) continue
    const holder = owner.get(key) ?? incumbents.get(key)
    if (key === ownKey) note(refused, node.name, 'it announces the key of this node')
    else if (holder !== undefined) note(refused, node.name, `it announces the key of ${holder}`)
    else owner.set(key, node.name)
  }
  return { owner, refused }
}

/** All that a node may send from, and be sent to, through the tunnel: what its peers have as its allowed IPs. */
export function addressesOf(node: NodeRecord, family: Family, cidrs: CidrClaims, source: CidrSource): Set<Cidr> {
  const all = new Set<Cidr>()
  for (const cidr of source(node)) if (cidrs.owner.get(cidr) === node.name) all.add(cidr)
  const device = node.announced[family]?.interfaceAddress
  if (device !== undefined && familyOf(device) === family && mayHold(node, device, cidrs)) all.add(hostCidr(device))
  for (const address of nodeAddresses(node, family)) if (mayHold(node, address, cidrs)) all.add(hostCidr(address))
  return all
}

export const nodeAddresses = (node: NodeRecord, family: Family): IpAddress[] =>
  node.addresses.filter(address => familyOf(address) === family)

/** An address of another node, or inside its prefix, is not this node's to announce. */
function mayHold(node: NodeRecord, address: IpAddress, cidrs: CidrClaims): boolean {
  if ((cidrs.hosts.get(address) ?? node.name) !== node.name) return false
  const around = cidrs.owner.longest(address)
  return around === undefined || around[1] === node.name
}

function note(refused: Map<NodeName, string[]>, node: NodeName, fault: string): void {
  refused.set(node, [...(refused.get(node) ?? []), fault])
}
