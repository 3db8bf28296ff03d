import type { PublicKey } from '#keys/public-key.ts'
import { cidrContains, type IpAddress } from '#wg/ip.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import { addressesOf, announcedKey, type CidrClaims, type KeyClaims, nodeAddresses } from './claims.ts'
import { digestOfSet } from './digest.ts'
import type { FamilyView, ObservedKernel } from './family-view.ts'
import type { Digest } from './hello-content.ts'
import type { Announcement, Lane, Move, NodeName, NodeRecord } from './node-record.ts'
import {
  ABSENT,
  type ObservedPeer,
  type PeerFacts,
  type PeerState,
  type PeerStates,
  type Standing,
  stepPeer,
} from './peer-machine.ts'
import { type PlanMemory, sameStates } from './plan-memory.ts'

/** The states of all pairs, on each of this node's two devices. */
export type LaneStates = Readonly<Record<Lane, PeerStates>>

export const NO_STATES: LaneStates = { main: new Map(), spare: new Map() }

/** The device that traffic to a node goes by; undefined: none, it goes in clear. */
export function laneOf(states: LaneStates, node: NodeName): Lane | undefined {
  if (states.main.get(node)?.phase === 'encrypting') return 'main'
  return states.spare.get(node)?.phase === 'encrypting' ? 'spare' : undefined
}

/** The state of each pair as a person wants to hear of it: that of the device which its traffic is on. */
export function pairStates(states: LaneStates): PeerStates {
  const pairs = new Map(states.main)
  for (const [name, state] of states.spare) if (laneOf(states, name) === 'spare') pairs.set(name, state)
  return pairs
}

/** One step of every pair on both devices; a lane in which nothing changes is the same object. @param move where this node wants its traffic while its main device changes */
export function stepPairs(
  previous: LaneStates,
  view: FamilyView,
  move: Move | undefined,
  cidrs: CidrClaims,
  keys: KeyClaims,
  { steps }: PlanMemory,
): LaneStates {
  const published = { main: publishedDigest(view, 'main', cidrs), spare: publishedDigest(view, 'spare', cidrs) }
  const main = new Map<NodeName, PeerState>()
  const spare = new Map<NodeName, PeerState>()
  for (const name of new Set([...view.nodes.keys(), ...previous.main.keys(), ...previous.spare.keys()])) {
    if (name === view.self) continue
    const node = view.nodes.get(name)
    const before = { main: previous.main.get(name) ?? ABSENT, spare: previous.spare.get(name) ?? ABSENT }
    const facts = pairFacts(name, before, view, move, published, keys)
    const known = steps.get(before.main)
    if (known && sameInputs(known, facts)) {
      if (before.main.phase !== 'absent' || node) main.set(name, before.main)
      if (before.spare.phase !== 'absent') spare.set(name, before.spare)
      continue
    }
    const standing = mainStanding(name, view, keys)
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
    const onSpare = spareStanding(name, view, keys, move, standing)
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
    const spareAfter = stays ? before.spare : step('spare', factsOf('spare', onSpare, false))
    const away = move === 'away' || node?.spare[view.family]?.move === 'away'
    // What is on the main device stays until the spare one has proven itself; nothing new begins there meanwhile.
    const parked = away && (spareAfter.phase === 'encrypting' || before.main.phase !== 'encrypting')
    const mainAfter = step('main', factsOf('main', standing, parked))
    // Why a spare device is absent nobody keeps.
    const spareRests = rests(before.spare, spareAfter) || (before.spare === ABSENT && spareAfter.phase === 'absent')
    if (rests(before.main, mainAfter) && spareRests) steps.set(before.main, facts)
    if (mainAfter.phase !== 'absent' || node) main.set(name, mainAfter)
    if (spareAfter.phase !== 'absent') spare.set(name, spareAfter)
  }
  return { main: sameStates(previous.main, main), spare: sameStates(previous.spare, spare) }
}

/** Only what lingers looks at the clock while it stays as it is. */
const rests = (before: PeerState, after: PeerState): boolean => before === after && before.phase !== 'lingering'

/** All that a step of the pair looks at, apart from the clock. One list, as there is one for each pair in each plan. */
function pairFacts(
  name: NodeName,
  { main, spare }: Readonly<Record<Lane, PeerState>>,
  view: FamilyView,
  move: Move | undefined,
  published: Readonly<Record<Lane, Digest | undefined>>,
  keys: KeyClaims,
): readonly unknown[] {
  const { nodes, family, lanes, enabled, routeSync, natExceptions, pinsEndpoints } = view
  const node = nodes.get(name)
  const own = nodes.get(view.self)
  const announced = node?.announced[family]?.publicKey
  const announcedSpare = node?.spare[family]?.publicKey
  const onMain = lanes.main.kernel.peers
  const onSpare = lanes.spare.kernel.peers
  return [
    move,
    published.main,
    published.spare,
    name,
    node,
    main,
    spare,
    enabled,
    routeSync,
    natExceptions,
    pinsEndpoints,
    lanes.main.identity === undefined,
    own && nodeAddresses(own, family).length === 0,
    of(keys.owner, announced),
    of(keys.owner, announcedSpare),
    keys.refused.get(name),

    lanes.main.hellos.get(name),
    lanes.spare.hellos.get(name),
    of(onMain, keyOf(main)),
    of(onMain, candidateOf(main)),
    of(onMain, announced),
    of(onSpare, keyOf(spare)),
    of(onSpare, candidateOf(spare)),
    of(onSpare, announcedSpare),
  ]
}

const of = <Key, Value>(map: ReadonlyMap<Key, Value>, key: Key | undefined): Value | undefined =>
  key === undefined ? undefined : map.get(key)

const keyOf = (state: PeerState): PublicKey | undefined => (state.phase === 'absent' ? undefined : state.key)

const candidateOf = (state: PeerState): PublicKey | undefined =>
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

function mainStanding(name: NodeName, view: FamilyView, keys: KeyClaims): Standing {
  const out = (reason: string): Standing => ({ takesPart: false, reason })
  if (!view.enabled || !view.lanes.main.identity) return out('encryption is off on this node')
  const node = view.nodes.get(name)
  if (!node) return out('its Node object is gone')
  const announced = node.announced[view.family]
  if (!announced) return out(['it announces no WireGuard key', ...node.faults].join('; '))
  if (keys.owner.get(announced.publicKey) !== name)
    return out(keys.refused.get(name)?.join('; ') ?? 'its key is not believed')
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
  keys: KeyClaims,
  move: Move | undefined,
  main: Standing,
): Standing {
  const out = (reason: string): Standing => ({ takesPart: false, reason })
  if (!main.takesPart) return main
  const announced = view.nodes.get(name)?.spare[view.family]
  if (!announced) return out('it announces no spare device')
  if (move === undefined && announced.move === undefined) return out('the main devices of both stay as they are')
  if (keys.owner.get(announced.publicKey) !== name) return out('the key of its spare device is not believed')
  if (main.helloAddress === undefined) return out('it speaks no hello')
  return { takesPart: true, key: announced.publicKey, helloAddress: main.helloAddress }
}

const helloAddress = (announced: Announcement): IpAddress | undefined =>
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
    state.phase === 'accepting' || state.phase === 'encrypting' ? state.candidate : undefined,
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
function publishedDigest(view: FamilyView, lane: Lane, cidrs: CidrClaims): Digest | undefined {
  const own = view.nodes.get(view.self)
  const { identity } = view.lanes[lane]
  const key = identity?.privateKey.publicKey()
  if (!own || key === undefined || announcedKey(own, view.family, lane) !== key) return undefined
  return digestOfSet(key, addressesOf(own, view.family, cidrs, view.cidrSource))
}
