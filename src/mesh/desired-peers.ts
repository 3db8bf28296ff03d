import type { PublicKey } from '#keys/public-key.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import type { Cidr } from '#wg/ip.ts'
import type { DesiredPeer } from '#wg/reconcile/desired.ts'
import type { CidrClaims } from './claims.ts'
import type { FamilyView } from './family-view.ts'
import type { HeardHello } from './hello-content.ts'
import { candidateOf } from './lanes.ts'
import type { Lane, NodeName } from './node-record.ts'
import type { PeerState, PeerStates } from './peer-machine.ts'
import type { PlannedPeer } from './peer-table.ts'
import { NAT_KEEPALIVE, whereaboutsOf } from './whereabouts.ts'

/** Keepalive, in seconds, that makes a device start a handshake where no hello does. */
const PROVOKING_KEEPALIVE = 5

export interface PlannedPeers {
  /** That of the key in use, and that of a candidate. */
  readonly peers: readonly PlannedPeer[]
  /** They stay so whatever the time, while what they were made of does. */
  readonly lasts: boolean
}

const NONE: PlannedPeers = { peers: [], lasts: true }

/**
 * The peers that a device must have for one node, with what each may send and be sent.
 * @param states of all nodes, as they are after this plan's steps
 */
export function desiredPeers(
  view: FamilyView,
  lane: Lane,
  name: NodeName,
  states: PeerStates,
  cidrs: CidrClaims,
): PlannedPeers {
  const state = states.get(name)
  if (state === undefined) return NONE
  if (state.phase === 'absent') return state.contested ? undialled(state.contested.key) : NONE
  const { persistentKeepalive, listenPort } = view.config
  const node = view.nodes.get(name)
  const held = view.lanes[lane].kernel.peers.get(state.key)
  const announced = (lane === 'main' ? node?.announced : node?.spare)?.[view.family]
  const port = announced && (announced.port ?? listenPort)
  const { translated, lasts, ...to } = whereaboutsOf(view, node, port, held)
  // Without a hello, only a keepalive makes the device start the handshake that proves.
  const provoke = persistentKeepalive || PROVOKING_KEEPALIVE
  // A tunnel that was silent is asked again, as nothing of the host's is sent into it any more.
  const callsOut = translated || view.hosts?.mute.has(state.key) === true
  const silent = state.phase === 'accepting' && state.helloAddress === undefined
  const peer: DesiredPeer = {
    ...to,
    allowedIps: cidrs.addresses(name),
    persistentKeepalive: silent ? provoke : persistentKeepalive || (callsOut ? NAT_KEEPALIVE : 0),
  }
  const lingers = state.phase === 'lingering'
  const peers: PlannedPeer[] = [
    {
      key: state.key,
      use: lingers ? 'lingering' : 'tunnel',
      peer: lingers && held ? lingering(peer, held, states, cidrs) : peer,
    },
  ]
  const candidate = candidateOf(state)
  // Whoever has the key of a candidate shows by its endpoint where he is; set back, a handshake from elsewhere would
  // pass for one from the node.
  if (candidate !== undefined) {
    const waiting: DesiredPeer = {
      ...to,
      mayRoamTo: 'anywhere',
      allowedIps: new Set(),
      persistentKeepalive: provoke,
    }
    peers.push({ key: candidate, use: 'candidate', peer: waiting })
  }
  return {
    peers,
    lasts: lasts && state.phase !== 'lingering' && !isToldToStop(state, view.lanes[lane].hellos.get(name)),
  }
}

/** It has to have been said for a while. */
const isToldToStop = (state: PeerState, hello: HeardHello | undefined): boolean =>
  state.phase === 'encrypting' && hello !== undefined && hello.accepts === undefined

/** Its endpoint is to tell where the key is, so it is never written. */
const undialled = (key: PublicKey): PlannedPeers => ({
  peers: [
    {
      key,
      use: 'contested',
      peer: { endpoint: undefined, mayRoamTo: 'anywhere', allowedIps: new Set(), persistentKeepalive: 0 },
    },
  ],
  lasts: true,
})

/** A lingering peer keeps what it holds, as long as nobody else needs it: what still arrives from it is accepted. */
function lingering(peer: DesiredPeer, held: PeerStatus, states: PeerStates, cidrs: CidrClaims): DesiredPeer {
  const taken = (cidr: Cidr): boolean => {
    const holder = cidrs.holder(cidr)
    return holder !== undefined && takesPart(states.get(holder))
  }
  const allowedIps = new Set([...held.allowedIps].filter(cidr => !taken(cidr)))
  return { ...peer, endpoint: peer.endpoint ?? held.endpoint, allowedIps }
}

export const takesPart = (state: PeerState | undefined): boolean =>
  state?.phase === 'accepting' || state?.phase === 'encrypting'
