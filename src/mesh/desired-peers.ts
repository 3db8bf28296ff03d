import type { PublicKey } from '#keys/public-key.ts'
import type { Cidr } from '#wg/ip.ts'
import type { DesiredPeer } from '#wg/reconcile/desired.ts'
import { addressesOf, type CidrClaims } from './claims.ts'
import type { FamilyView, ObservedKernel } from './family-view.ts'
import type { Lane } from './node-record.ts'
import type { PeerStates } from './peer-machine.ts'
import { NAT_KEEPALIVE, whereaboutsOf } from './whereabouts.ts'

/** Keepalive, in seconds, that makes a device start a handshake where no hello does. */
const PROVOKING_KEEPALIVE = 5

/** The peers that a device must have, with what each may send and be sent. */
export function desiredPeers(
  view: FamilyView,
  lane: Lane,
  states: PeerStates,
  cidrs: CidrClaims,
): Map<PublicKey, DesiredPeer> {
  const peers = new Map<PublicKey, DesiredPeer>()
  for (const [name, state] of states) {
    if (state.phase === 'absent') continue
    const node = view.nodes.get(name)
    const announced = (lane === 'main' ? node?.announced : node?.spare)?.[view.family]
    const port = announced && (announced.port ?? view.config.listenPort)
    const { translated, ...to } = whereaboutsOf(view, node, port, view.lanes[lane].kernel.peers.get(state.key))
    // Without a hello, only a keepalive makes the device start the handshake that proves.
    const provoke = view.config.persistentKeepalive || PROVOKING_KEEPALIVE
    const silent = state.phase === 'accepting' && state.helloAddress === undefined
    peers.set(state.key, {
      ...to,
      allowedIps: node ? addressesOf(node, view.family, cidrs, view.cidrSource) : new Set(),
      persistentKeepalive: silent ? provoke : view.config.persistentKeepalive || (translated ? NAT_KEEPALIVE : 0),
    })
    // Whoever has the key of a candidate shows by its endpoint where he is; set back, a handshake from elsewhere would
    // pass for one from the node.
    if (state.phase !== 'lingering' && state.candidate !== undefined)
      peers.set(state.candidate, { ...to, mayRoamTo: 'anywhere', allowedIps: new Set(), persistentKeepalive: provoke })
  }
  return keepWhatLingers(view.lanes[lane].kernel, states, peers)
}

/** A lingering peer keeps what it holds, as long as nobody else needs it: what still arrives from it is accepted. */
function keepWhatLingers(
  kernel: ObservedKernel,
  states: PeerStates,
  peers: Map<PublicKey, DesiredPeer>,
): Map<PublicKey, DesiredPeer> {
  const taken = new Set<Cidr>()
  for (const state of states.values())
    if (state.phase === 'accepting' || state.phase === 'encrypting')
      for (const cidr of peers.get(state.key)?.allowedIps ?? []) taken.add(cidr)
  for (const state of states.values()) {
    if (state.phase !== 'lingering') continue
    const peer = peers.get(state.key)
    const held = kernel.peers.get(state.key)
    if (!peer || !held) continue
    const allowedIps = new Set([...held.allowedIps].filter(cidr => !taken.has(cidr)))
    peers.set(state.key, { ...peer, endpoint: peer.endpoint ?? held.endpoint, allowedIps })
  }
  return peers
}
