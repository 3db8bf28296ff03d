import type { PublicKey } from '#keys/public-key.ts'
import { type Few, few } from '#wg/few.ts'
import { type Family, familyOf, type IpAddress } from '#wg/ip.ts'
import { LANES, type Lane, type NodeRecord } from './node-record.ts'

/** The same order on every node: the older object wins, then the lesser name. */
export const elderFirst = (a: NodeRecord, b: NodeRecord): number =>
  a.createdAt - b.createdAt || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)

/** The key that a node announces for one of its devices. */
export const announcedKey = (node: NodeRecord, family: Family, lane: Lane): PublicKey | undefined =>
  (lane === 'main' ? node.announced : node.spare)[family]?.publicKey

/** Both devices' keys, the one in use first. */
export const announcedKeys = (node: NodeRecord, family: Family): Few<PublicKey> =>
  few(LANES.map(lane => announcedKey(node, family, lane)))

/** Most often all that it has, which is then the same list. */
export const nodeAddresses = (node: NodeRecord, family: Family): Few<IpAddress> => ofFamily(node.addresses, family)

/** What the devices of a node have: of WireGuard, and of Calico's other encapsulations. */
export function deviceAddresses({ announced, tunnels }: NodeRecord, family: Family): Few<IpAddress> {
  const device = announced[family]?.interfaceAddress
  return device === undefined ? ofFamily(tunnels, family) : ofFamily([device, ...tunnels], family)
}

const ofFamily = (addresses: Few<IpAddress>, family: Family): Few<IpAddress> =>
  addresses.every(address => familyOf(address) === family)
    ? addresses
    : few(addresses.filter(address => familyOf(address) === family))

/** To a node without addresses of a family nothing of that family goes. */
export const hasFamily = ({ addresses, podCidrs }: NodeRecord, family: Family): boolean =>
  addresses.some(address => familyOf(address) === family) || podCidrs.some(cidr => familyOf(cidr) === family)
