import type { PublicKey } from '#keys/public-key.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerStates } from '#src/mesh/peer-machine.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import type { Cidr } from '#wg/ip.ts'

/**
 * The smaller path MTUs that an agent before this one has put on routes, bytes, by the nodes that the routes lead to.
 * @param peers of the device
 * @param mtus of routes by it that have one
 */
export function* routedPaths(
  states: PeerStates,
  peers: ReadonlyMap<PublicKey, PeerStatus>,
  mtus: ReadonlyMap<Cidr, number>,
): Generator<[NodeName, number]> {
  for (const [node, state] of mtus.size > 0 ? states : []) {
    const held = state.phase === 'absent' ? undefined : peers.get(state.key)?.allowedIps
    const mtu = held?.values().reduce((least, cidr) => Math.min(least, mtus.get(cidr) ?? least), Infinity)
    if (mtu !== undefined && Number.isFinite(mtu)) yield [node, mtu]
  }
}
