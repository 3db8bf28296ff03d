import type { PublicKey } from '#keys/public-key.ts'
import { type Cidr, type Family, familyOf, hostCidr, type IpAddress } from '#wg/ip.ts'
import { PrefixMap } from '#wg/prefix-map.ts'
import type { NodeName, NodeRecord } from './node-record.ts'

/** One sentence for each claim that lost, by the node that made it. */
type Refusals = ReadonlyMap<NodeName, readonly string[]>

/** Which node a prefix belongs to, and who else says that it is theirs. */
export interface CidrClaims {
  readonly owner: PrefixMap<NodeName>
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
 * Decides who owns each prefix. A prefix inside another node's is refused as well: with pod CIDRs, which Kubernetes hands
 * out disjoint, an overlap is a mistake or a theft.
 */
export function claimCidrs(nodes: Iterable<NodeRecord>, source: CidrSource, family: Family): CidrClaims {
  const owner = new PrefixMap<NodeName>()
  const refused = new Map<NodeName, string[]>()
  for (const node of [...nodes].sort(elderFirst)) {
    for (const cidr of source(node)) {
      if (familyOf(cidr) !== family) continue
      const holder = owner.get(cidr)
      if (holder === node.name) continue
      if (holder === undefined) owner.set(cidr, node.name)
      else note(refused, node.name, `${cidr} belongs to ${holder}`)
    }
  }
  for (const [cidr, node] of [...owner]) {
    const around = owner.parent(cidr)
    if (!around || around[1] === node) continue
    owner.delete(cidr)
    note(refused, node, `${cidr} lies inside ${around[0]} of ${around[1]}`)
  }
  return { owner, refused }
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

/** An address inside another node's prefix is not this node's to announce. */
function mayHold(node: NodeRecord, address: IpAddress, cidrs: CidrClaims): boolean {
  const around = cidrs.owner.longest(address)
  return around === undefined || around[1] === node.name
}

function note(refused: Map<NodeName, string[]>, node: NodeName, fault: string): void {
  refused.set(node, [...(refused.get(node) ?? []), fault])
}
