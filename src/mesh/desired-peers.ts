import type { PublicKey } from '#keys/public-key.ts'
import type { Cidr } from '#wg/ip.ts'
import type { DesiredPeer } from '#wg/reconcile/desired.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import { addressesOf, type CidrClaims } from './claims.ts'
import type { FamilyView, ObservedKernel } from './family-view.ts'
import type { Lane } from './node-record.ts'
import type { PeerState, PeerStates } from './peer-machine.ts'
import type { PlannedPeer } from './plan-memory.ts'
import { NAT_KEEPALIVE, whereaboutsOf } from './whereabouts.ts'

/** Keepalive, in seconds, that makes a device start a handshake where no hello does. */
const PROVOKING_KEEPALIVE = 5

/**
 * The peers that a device must have, with what each may send and be sent.
 * @param planned what was planned before for each state; what follows from the same is not made again
 */
export function desiredPeers(
  view: FamilyView,
  lane: Lane,
  states: PeerStates,
  cidrs: CidrClaims,
  planned: WeakMap<PeerState, PlannedPeer>,
): Map<PublicKey, DesiredPeer> {
  const { persistentKeepalive, listenPort } = view.config
  const peers = new Map<PublicKey, DesiredPeer>()
  for (const [name, state] of states) {
    if (state.phase === 'absent') continue
    const node = view.nodes.get(name)
    const held = view.lanes[lane].kernel.peers.get(state.key)
    const allowedIps = node ? addressesOf(node, view.family, cidrs, view.cidrSource) : NOTHING
    const isMute = view.hosts?.mute.has(state.key) === true
    const { natExceptions, pinsEndpoints } = view
    const inputs = [node, held, allowedIps, persistentKeepalive, listenPort, natExceptions, pinsEndpoints, isMute]
    const known = planned.get(state)
    if (known && sameInputs(known.inputs, inputs)) {
      peers.set(state.key, known.peer)
      continue
    }
    const announced = (lane === 'main' ? node?.announced : node?.spare)?.[view.family]
    const port = announced && (announced.port ?? listenPort)
    const { translated, lasts, ...to } = whereaboutsOf(view, node, port, held)
    // Without a hello, only a keepalive makes the device start the handshake that proves.
    const provoke = persistentKeepalive || PROVOKING_KEEPALIVE
    // A tunnel that was silent is asked again, as nothing of the host's is sent into it any more.
    const callsOut = translated || isMute
    const silent = state.phase === 'accepting' && state.helloAddress === undefined
    const peer = {
      ...to,
      allowedIps,
      persistentKeepalive: silent ? provoke : persistentKeepalive || (callsOut ? NAT_KEEPALIVE : 0),
    }
    peers.set(state.key, peer)
    const hasCandidate = state.phase !== 'lingering' && state.candidate !== undefined
    if (lasts && !hasCandidate) planned.set(state, { inputs, peer })
    // Whoever has the key of a candidate shows by its endpoint where he is; set back, a handshake from elsewhere would
    // pass for one from the node.
    if (state.phase !== 'lingering' && state.candidate !== undefined)
      peers.set(state.candidate, { ...to, mayRoamTo: 'anywhere', allowedIps: new Set(), persistentKeepalive: provoke })
  }
  return keepWhatLingers(view.lanes[lane].kernel, states, peers)
}

const NOTHING: ReadonlySet<Cidr> = new Set()

/** A lingering peer keeps what it holds, as long as nobody else needs it: what still arrives from it is accepted. */
function keepWhatLingers(
  kernel: ObservedKernel,
  states: PeerStates,
  peers: Map<PublicKey, DesiredPeer>,
): Map<PublicKey, DesiredPeer> {
  if (!states.values().some(({ phase }) => phase === 'lingering')) return peers
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
