import type { PublicKey } from '#keys/public-key.ts'
import { few } from '#wg/few.ts'
import { cidrContains, type IpAddress } from '#wg/ip.ts'
import type { CidrClaims } from './claims.ts'
import { digestOfSet } from './digest.ts'
import type { FamilyView, ObservedKernel } from './family-view.ts'
import type { Digest } from './hello-content.ts'
import type { HeldKeys, KeyOwners } from './key-owners.ts'
import type { Announcement, Lane, Move, NodeName, NodeRecord } from './node-record.ts'
import {
  ABSENT,
  type ObservedPeer,
  type PeerFacts,
  type PeerState,
  type PeerStates,
  type Phase,
  type Standing,
  stepPeer,
} from './peer-machine.ts'
import { announcedKey, nodeAddresses } from './record-facts.ts'

/** The states of all pairs, on each of this node's two devices. */
export type LaneStates = Readonly<Record<Lane, PeerStates>>

export const NO_STATES: LaneStates = { main: new Map(), spare: new Map() }

/** The device that traffic to a node goes by; undefined: none, it goes in clear. */
export function laneOf(states: LaneStates, node: NodeName): Lane | undefined {
  if (states.main.get(node)?.phase === 'encrypting') return 'main'
  return states.spare.get(node)?.phase === 'encrypting' ? 'spare' : undefined
}

/** The state of each pair as a person wants to hear of it: that of the device which its traffic is on. */
export const pairState = (states: LaneStates, node: NodeName): PeerState | undefined =>
  states[laneOf(states, node) ?? 'main'].get(node)

/** What the steps of all pairs have in common, apart from the view. */
export interface Circumstances {
  /** Where this node wants its traffic while its main device changes. */
  readonly move: Move | undefined
  /** What the others must accept from us, on each device. */
  readonly published: Readonly<Record<Lane, Digest | undefined>>
  readonly keys: KeyOwners
}

/** The states of one pair on both devices. */
export type PairOfStates = Readonly<Record<Lane, PeerState>>

/**
 * One step of one pair on both devices. What it looks at beyond the pair's own facts is listed in commonFacts().
 * @returns the same states where nothing changes
 */
export function stepPair(
  name: NodeName,
  last: PairOfStates,
  view: FamilyView,
  { move, published, keys }: Circumstances,
): PairOfStates {
  const node = view.nodes.get(name)
  const before = { main: unlessTaken(last.main, name, keys), spare: unlessTaken(last.spare, name, keys) }
  const standing = mainStanding(name, view, keys, before.main)
  // With the last word lost, the word on the main device tells as well.
  const onMain = before.main.phase === 'encrypting' && view.lanes.main.hellos.get(name)?.steers === true
  const factsOf = (lane: Lane, standing: Standing, parked: boolean): PeerFacts => ({
    now: view.now,
    standing,
    observed: observe(before[lane], view, lane, node),
    hello: view.lanes[lane].hellos.get(name),
    published: published[lane],
    parked,
    replaced: lane === 'spare' && onMain,
  })
  const onSpare = spareStanding(name, view, keys, move, standing, before.spare)
  // Traffic that is on the spare device stays there until the main one takes it: silence is never answered in clear.
  const stays =
    before.spare.phase === 'encrypting' &&
    before.main.phase !== 'encrypting' &&
    standing.takesPart &&
    !onSpare.takesPart
  const step = (lane: Lane, facts: PeerFacts): PeerState => {
    const stepped = stepPeer(before[lane], facts)
    return view.routeSync ? stepped : unsteered(stepped, before[lane], view.now)
  }
  const spare = stays ? before.spare : step('spare', factsOf('spare', onSpare, false))
  const away = move === 'away' || node?.spare[view.family]?.move === 'away'
  // What is on the main device stays until the spare one has proven itself; nothing new begins there meanwhile.
  const proven = spare.phase === 'encrypting' && spare.candidate === undefined
  const parked = away && (proven || before.main.phase !== 'encrypting')
  const main = step('main', factsOf('main', standing, parked))
  return { main, spare }
}

/** All that every pair looks at: another of these, and each pair is looked at again. */
export function commonFacts(view: FamilyView, { move, published }: Circumstances): readonly unknown[] {
  const { nodes, family, self, lanes, enabled, routeSync, natExceptions, pinsEndpoints } = view
  const own = nodes.get(self)
  return [
    ...[move, published.main, published.spare, enabled, routeSync, natExceptions, pinsEndpoints],
    lanes.main.identity === undefined,
    own && nodeAddresses(own, family).length === 0,
  ]
}

/** What the tunnels of a pair go by. */
export function heldKeys(states: PairOfStates): HeldKeys {
  const { main, spare } = states
  const keysIn = (...phases: Phase[]) =>
    few([main, spare].map(state => (state.phase !== 'absent' && phases.includes(state.phase) ? state.key : undefined)))
  const next = few([candidateOf(main), candidateOf(spare)])
  return { proven: keysIn('encrypting'), inUse: keysIn('accepting', 'lingering'), next }
}

export const candidateOf = (state: PeerState): PublicKey | undefined =>
  state.phase === 'accepting' || state.phase === 'encrypting' ? state.candidate : undefined

const NO_ROUTES = 'routeSyncDisabled: nothing is steered into the tunnel'

/** Whatever was proven, a peer without routes is one that is accepted, and no more. */
function unsteered(stepped: PeerState, before: PeerState, now: number): PeerState {
  if (stepped.phase !== 'encrypting' && stepped.phase !== 'accepting') return stepped
  const { key, candidate, helloAddress } = stepped
  const { baseline, parked } = stepped.phase === 'accepting' ? stepped : { baseline: undefined, parked: false }
  const since = before.phase === 'accepting' && before.key === key ? before.since : now
  return { phase: 'accepting', since, key, candidate, helloAddress, baseline, parked, reason: NO_ROUTES }
}

/** What was never proven to be its key, and now is another node's, is left to that node without lingering. */
function unlessTaken(state: PeerState, name: NodeName, keys: KeyOwners): PeerState {
  if (state.phase !== 'accepting' && state.phase !== 'lingering') return state
  return (keys.owner(state.key) ?? name) === name ? state : ABSENT
}

function mainStanding(name: NodeName, view: FamilyView, keys: KeyOwners, state: PeerState): Standing {
  const out = (reason: string): Standing => ({ takesPart: false, reason })
  if (!view.enabled || !view.lanes.main.identity) return out('encryption is off on this node')
  const node = view.nodes.get(name)
  if (!node) return out('its Node object is gone')
  const announced = node.announced[view.family]
  if (!announced) return out(['it announces no WireGuard key', ...node.faults].join('; '))
  if (!isBelieved(announced.publicKey, name, keys, state)) {
    const reason = keys.refusals(name)?.join('; ') ?? 'its key is not believed'
    return { takesPart: false, reason, ...contested(announced.publicKey, keys) }
  }
  // One without an address can still call us, if we have one.
  const own = view.nodes.get(view.self)
  if (nodeAddresses(node, view.family).length === 0 && (!own || nodeAddresses(own, view.family).length === 0))
    return out(`neither it nor this node has an IPv${view.family} address`)
  return { takesPart: true, key: announced.publicKey, helloAddress: helloAddress(announced) }
}

/** On their spare devices are those two of which one changes its main device, and both speak hello. */
function spareStanding(
  name: NodeName,
  view: FamilyView,
  keys: KeyOwners,
  move: Move | undefined,
  main: Standing,
  state: PeerState,
): Standing {
  const out = (reason: string): Standing => ({ takesPart: false, reason })
  if (!main.takesPart) return out(main.reason)
  const announced = view.nodes.get(name)?.spare[view.family]
  if (!announced) return out('it announces no spare device')
  if (move === undefined && announced.move === undefined) return out('the main devices of both stay as they are')
  if (!isBelieved(announced.publicKey, name, keys, state)) {
    const reason = 'the key of its spare device is not believed'
    return { takesPart: false, reason, ...contested(announced.publicKey, keys) }
  }
  if (main.helloAddress === undefined) return out('it speaks no hello')
  return { takesPart: true, key: announced.publicKey, helloAddress: main.helloAddress }
}

/** A tunnel that there is already has a key that others announce as well for its candidate, and loses nothing by it. */
const isBelieved = (key: PublicKey, name: NodeName, keys: KeyOwners, state: PeerState): boolean =>
  keys.owner(key) === name || (keys.isContested(key) && state.phase !== 'absent')

const contested = (key: PublicKey, keys: KeyOwners): { contested?: PublicKey } =>
  keys.isContested(key) ? { contested: key } : {}

export const helloAddress = (announced: Announcement): IpAddress | undefined =>
  announced.hello === undefined ? undefined : announced.interfaceAddress

function observe(
  state: PeerState,
  view: FamilyView,
  lane: Lane,
  node: NodeRecord | undefined,
): Map<PublicKey, ObservedPeer> {
  const kernel: ObservedKernel = view.lanes[lane].kernel
  const observed = new Map<PublicKey, ObservedPeer>()
  const inUse = state.phase === 'absent' ? undefined : kernel.peers.get(state.key)?.endpoint?.address
  const keys = [
    state.phase === 'absent' ? undefined : state.key,
    candidateOf(state),
    node && announcedKey(node, view.family, lane),
  ]
  for (const key of keys) {
    const peer = key === undefined ? undefined : kernel.peers.get(key)
    if (!peer) continue
    const { latestHandshake, rxBytes, endpoint } = peer
    const endpointIsPublished =
      endpoint !== undefined &&
      ((node?.addresses.includes(endpoint.address) ?? false) ||
        view.natExceptions.some(cidr => cidrContains(cidr, endpoint.address)) ||
        // Behind the gateway where the key in use is, which nobody else can move.
        (!view.pinsEndpoints && endpoint.address === inUse))
    observed.set(peer.publicKey, { latestHandshake, rxBytes, endpointIsPublished, mustCall: endpoint === undefined })
  }
  return observed
}

/** Digest of what the others must accept from us; undefined until our Node says that the device's key is the one in use. */
export function publishedDigest(view: FamilyView, lane: Lane, cidrs: CidrClaims): Digest | undefined {
  const own = view.nodes.get(view.self)
  const { identity } = view.lanes[lane]
  const key = identity?.privateKey.publicKey()
  if (!own || key === undefined || announcedKey(own, view.family, lane) !== key) return undefined
  return digestOfSet(key, cidrs.addresses(own.name))
}
