import { createHash } from 'node:crypto'
import { type Cidr, cidrContains, type Family, familyOf, type IpAddress, nthAddress, parseCidr } from '#wg/ip.ts'
import type { NodeRecord } from './node-record.ts'

/**
 * Where devices have their addresses when nothing hands out any: of the range for measurements between networks, which is
 * routed nowhere (RFC 2544, 198.18.0.0/15), and of a local range with a random prefix (RFC 4193).
 */
export const DEVICE_POOLS: Readonly<Record<Family, Cidr>> = {
  4: parseCidr('198.18.0.0/15'),
  6: parseCidr('fd8a:9ae4:1c5d:7761::/64'),
}

/** Offsets that a hash chooses among: the pool of IPv4 has so many, and of IPv6 more are not needed. */
const OFFSETS: Readonly<Record<Family, number>> = { 4: 2 ** 17, 6: 2 ** 52 }

/**
 * An address of the pool that no other node announces. One that is announced already stays, unless an older node has the
 * same: so two that chose alike end with two.
 */
export function poolAddress(family: Family, own: NodeRecord, nodes: Iterable<NodeRecord>): IpAddress {
  const taken = new Map<IpAddress, NodeRecord>()
  for (const node of nodes) {
    const address = node.announced[family]?.interfaceAddress
    if (node.name !== own.name && address !== undefined) taken.set(address, node)
  }
  const present = own.announced[family]?.interfaceAddress
  if (present !== undefined && cidrContains(DEVICE_POOLS[family], present)) {
    const other = taken.get(present)
    if (!other || isOlder(own, other)) return present
  }
  for (let attempt = 0; ; attempt++) {
    const address = candidate(family, `${own.uid}/${own.name}/${attempt}`)
    if (address !== undefined && !taken.has(address)) return address
  }
}

const isOlder = (a: NodeRecord, b: NodeRecord): boolean =>
  a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.name < b.name)

function candidate(family: Family, seed: string): IpAddress | undefined {
  const hash = createHash('sha256').update(seed).digest().readUIntBE(0, 6)
  const offset = hash % OFFSETS[family]
  // The network address is none, and the broadcast address may be none.
  return offset === 0 || offset === OFFSETS[family] - 1 ? undefined : nthAddress(DEVICE_POOLS[family], offset)
}

/** Whether this is one of what the node owns, or of the pool. Another would be a claim on somebody else's pods. */
export const isOwnAddress = (address: IpAddress, podCidrs: readonly Cidr[]): boolean =>
  [...podCidrs, DEVICE_POOLS[familyOf(address)]].some(cidr => cidrContains(cidr, address))
