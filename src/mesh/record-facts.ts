import type { PublicKey } from '#keys/public-key.ts'
import { type Family, familyOf, type IpAddress } from '#wg/ip.ts'
import { LANES, type Lane, type NodeRecord } from './node-record.ts'

/** The same order on every node: the older object wins, then the lesser name. */
export const elderFirst = (a: NodeRecord, b: NodeRecord): number =>
  a.createdAt - b.createdAt || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)

/** The key that a node announces for one of its devices. */
export const announcedKey = (node: NodeRecord, family: Family, lane: Lane): PublicKey | undefined =>
  (lane === 'main' ? node.announced : node.spare)[family]?.publicKey

/** Both devices' keys, the one in use first. */
export const announcedKeys = onceOf(
  (node: NodeRecord, family: Family): ReadonlySet<PublicKey> =>
    new Set(LANES.map(lane => announcedKey(node, family, lane)).filter(key => key !== undefined)),
)

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
