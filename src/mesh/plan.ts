import { type Cidr, familyOf, hostCidr, type IpAddress, nthAddress } from '#wg/ip.ts'
import type { DesiredDevice, DesiredFamily, DesiredRoute } from '#wg/reconcile/desired.ts'
import { atOnce } from '#wg/slices.ts'
import { mergeRefusals } from './claims.ts'
import { desiredPeers, takesPart } from './desired-peers.ts'
import { type DeviceNames, desiredRules, deviceRoutes, routesTo } from './desired-routes.ts'
import { digestOfSet } from './digest.ts'
import type { FamilyView } from './family-view.ts'
import { HELLO_VERSION, type HelloContent } from './hello-content.ts'
import { steersToHost } from './host-steering.ts'
import { type Circumstances, commonFacts, type LaneStates, pairState, publishedDigest, stepPair } from './lanes.ts'
import { type MovePlan, planMove } from './move.ts'
import { type Announcement, LANES, type Lane, type Move, type NodeName, type SpareAnnouncement } from './node-record.ts'
import type { PeerState, PeerStates } from './peer-machine.ts'
import { PlanMemory, type PlanTables } from './plan-memory.ts'
import { Slice } from './slice.ts'

/** What a plan has made of a pair; undefined where there was or is none. */
export interface ChangedPair {
  readonly before: PeerState | undefined
  readonly after: PeerState | undefined
}

export interface FamilyPlan {
  /** The state of each pair on the device that its traffic is on. */
  readonly peers: PeerStates
  /** Of these, the ones that this plan has changed. */
  readonly changed: ReadonlyMap<NodeName, ChangedPair>
  readonly lanes: LaneStates
  readonly desired: DesiredFamily
  /** What this node should announce; undefined withdraws. */
  readonly announce: Announcement | undefined
  readonly announceSpare: SpareAnnouncement | undefined
  readonly moving: MovePlan
  /** Claims that were refused, by node. */
  readonly refused: ReadonlyMap<NodeName, readonly string[]>
}

/**
 * What the kernel must hold, and why, given the cluster, the configuration and what was observed. Pure but for its memory:
 * states and desired tables of a plan that was made with the same memory are changed in place, at a cost in proportion to
 * what has changed.
 * @param memory of the plans before; goes on from `previous` where that is what the last of them gave
 */
export const planFamily = (previous: LaneStates, view: FamilyView, memory = new PlanMemory()): FamilyPlan =>
  atOnce(planInSlices(previous, () => view, memory, Number.POSITIVE_INFINITY))

/**
 * The same plan, made a slice at a time. What changes between two slices is taken in before the next one, and whoever it
 * makes a difference to is looked at again: the plan is of what was seen at its end.
 * @param look at what there is now
 * @param most how many nodes a slice looks at
 */
export function* planInSlices(
  previous: LaneStates,
  look: () => FamilyView,
  memory: PlanMemory,
  most: number,
): Generator<undefined, FamilyPlan> {
  try {
    const tables = memory.resume(previous, look())
    const { move } = planMove(look(), tables.states)
    const changed = new Map<NodeName, ChangedPair>()
    tables.begin()
    for (;;) {
      const plan = planSlice(tables, look(), move, changed, new Slice(most))
      if (plan) return plan
      yield
    }
  } catch (error) {
    memory.forget()
    throw error
  }
}

/**
 * @param changed pairs that this plan has changed so far
 * @returns undefined while there is more to look at
 */
function planSlice(
  tables: PlanTables,
  view: FamilyView,
  move: Move | undefined,
  changed: Map<NodeName, ChangedPair>,
  slice: Slice,
): FamilyPlan | undefined {
  const { states: lanes, keys, cidrs, due } = tables
  if (!tables.takeIn(view, slice)) return undefined
  const published = { main: publishedDigest(view, 'main', cidrs), spare: publishedDigest(view, 'spare', cidrs) }
  const circumstances: Circumstances = { move, published, keys }
  const { persistentKeepalive, listenPort } = view.config
  const common = [...commonFacts(view, circumstances), persistentKeepalive, listenPort]
  if (tables.takeCommon(common)) tables.expectEverybody(view)
  stepPairs(tables, view, circumstances, slice.take(due.states), changed)
  // What lingers depends on the states of others.
  if (due.states.size > 0) return undefined
  planPeers(tables, view, slice.take(due.peers))
  if (due.peers.size > 0) return undefined
  const wantsSpare = move !== undefined || somebodyMoves(tables)
  const desired = desiredFamily(tables, view, slice, wantsSpare)
  if (due.routes.size > 0) return undefined
  return {
    peers: tables.pairs,
    changed,
    lanes,
    desired,
    announce: announcement(view, lanes.main),
    announceSpare: wantsSpare ? spareAnnouncement(view, move) : undefined,
    moving: { ...planMove(view, lanes), move },
    refused: mergeRefusals(cidrs.refused, keys.refused),
  }
}

function stepPairs(
  tables: PlanTables,
  view: FamilyView,
  circumstances: Circumstances,
  names: readonly NodeName[],
  changed: Map<NodeName, ChangedPair>,
): void {
  for (const name of names) {
    tables.due.peers.add(name)
    if (name === view.self) continue
    const before = pairState(tables.states, name)
    tables.putStates(name, stepPair(name, tables.statesOf(name), view, circumstances), view.nodes.has(name))
    const after = pairState(tables.states, name)
    if (after) tables.pairs.set(name, after)
    else tables.pairs.delete(name)
    const first = changed.has(name) ? changed.get(name)?.before : before
    if (first !== after) changed.set(name, { before: first, after })
    else changed.delete(name)
  }
}

function planPeers(tables: PlanTables, view: FamilyView, names: readonly NodeName[]): void {
  const { states, cidrs, restless } = tables
  for (const name of names) {
    tables.due.routes.add(name)
    restless.delete(name)
    for (const lane of LANES) {
      const { peers, lasts } = desiredPeers(view, lane, name, states[lane], cidrs)
      tables.peers[lane].put(name, peers)
      if (!lasts) restless.add(name)
    }
  }
}

const NO_ROUTES: ReadonlyMap<string, DesiredRoute> = new Map()

const NO_ADDRESSES: ReadonlySet<Cidr> = new Set()

/** Somebody else's main device changes, and its traffic with us must have somewhere to go. */
const somebodyMoves = ({ movers, states }: PlanTables): boolean =>
  movers.values().some(name => takesPart(states.main.get(name)))

function desiredFamily(tables: PlanTables, view: FamilyView, slice: Slice, wantsSpare: boolean): DesiredFamily {
  const { family, config } = view
  const devices = new Map<Lane, DesiredDevice>()
  const addresses = new Set(deviceAddress(view))
  for (const lane of LANES) {
    const { identity } = view.lanes[lane]
    const inUse = tables.states[lane].values().some(state => state.phase !== 'absent')
    if (!identity || !(inUse || (view.enabled && (lane === 'main' || wantsSpare)))) continue
    const { peers } = tables.peers[lane]
    devices.set(lane, { ...identity, fwmark: config.mark, mtu: config.mtu, addresses, peers })
  }
  const names: DeviceNames = { main: devices.get('main')?.name, spare: devices.get('spare')?.name }
  planRoutes(tables, view, names, slice)
  return {
    family,
    devices: [...devices.values()],
    routes: devices.size === 0 ? NO_ROUTES : tables.routes,
    rules: devices.size === 0 ? [] : desiredRules(view, names),
    routeProtocol: config.routeProtocol,
  }
}

function planRoutes(tables: PlanTables, view: FamilyView, names: DeviceNames, slice: Slice): void {
  const { states, cidrs, due } = tables
  const { mesh, nodes, device, spare, hosts } = view.config.tables
  const source = view.hosts?.source
  const steeredHosts = source === undefined ? [] : LANES.map(lane => view.lanes[lane].kernel.steeredHosts)
  const common = [names.main, names.spare, view.routeSync, mesh, nodes, device, spare, hosts, source, ...steeredHosts]
  if (tables.takeCommonOfRoutes(common)) {
    tables.expectAllRoutes(view)
    tables.putRoutes(undefined, deviceRoutes(view, names))
  }
  for (const name of slice.take(due.routes)) {
    const node = view.nodes.get(name)
    const byTunnel = node && steersToHost(view, states, node)
    tables.putRoutes(name, routesTo(name, view, states, cidrs, names, byTunnel ? source : undefined))
  }
}

/**
 * What was allocated for the device, else the first address of our first pod CIDR, as Felix has it with host-local IPAM:
 * ours alone, and inside what we announce, so that what a host sends to a remote pod has a source that comes back through
 * the tunnel. Both devices have it.
 */
function deviceAddress({ nodes, self, family }: FamilyView): IpAddress[] {
  const own = nodes.get(self)
  const podCidr = own?.podCidrs.find(cidr => familyOf(cidr) === family)
  const ofCidr = podCidr === undefined ? undefined : nthAddress(podCidr, 1)
  const address = own?.deviceAddresses ? own.deviceAddresses[family] : ofCidr
  return address === undefined ? [] : [address]
}

/**
 * A key is announced when every peer that has one is on the device, because a Felix node steers on sight of a key. Once
 * announced it stays, whatever joins later.
 */
function announcement(view: FamilyView, states: PeerStates): Announcement | undefined {
  const { identity, kernel } = view.lanes.main
  if (!view.enabled || !identity) return undefined
  const own = view.nodes.get(view.self)
  const publicKey = identity.privateKey.publicKey()
  const standing = own?.announced[view.family]?.publicKey === publicKey
  const keyOf = (state: PeerState) => (state.phase === 'absent' ? state.contested?.key : state.key)
  const programmed = () =>
    states
      .values()
      .map(keyOf)
      .every(key => key === undefined || kernel.peers.has(key))
  if (!own || !(standing || (kernel.up && programmed()))) return undefined
  const { listenPort: port } = identity
  const encryptsHosts = view.hosts !== undefined && { encryptsHosts: true as const }
  return { publicKey, interfaceAddress: deviceAddress(view)[0], port, hello: HELLO_VERSION, ...encryptsHosts }
}

function spareAnnouncement(view: FamilyView, move: Move | undefined): SpareAnnouncement | undefined {
  const { identity, kernel } = view.lanes.spare
  if (!view.enabled || !identity || !kernel.up) return undefined
  return { publicKey: identity.privateKey.publicKey(), port: identity.listenPort, move }
}

/**
 * What the present content of one device entitles us to say through it to each peer that speaks hello. What is merely
 * planned is not said: ask after the plan was carried out.
 */
export function hellosOf(view: FamilyView, lane: Lane, states: PeerStates): Map<NodeName, HelloContent> {
  const hellos = new Map<NodeName, HelloContent>()
  for (const [name, state] of states) {
    const hello = helloOf(view, lane, state)
    if (hello) hellos.set(name, hello)
  }
  return hellos
}

/** The same for one peer; undefined where nothing is said to it. */
export function helloOf(view: FamilyView, lane: Lane, state: PeerState | undefined): HelloContent | undefined {
  if (state === undefined || state.phase === 'absent' || state.helloAddress === undefined) return undefined
  const { kernel } = view.lanes[lane]
  const held = kernel.peers.get(state.key)?.allowedIps ?? NO_ADDRESSES
  // Somebody else has that address by now: he would take it for said to him.
  if (state.phase === 'lingering' && !held.has(hostCidr(state.helloAddress))) return undefined
  const accepts = state.phase === 'lingering' || held.size === 0 ? undefined : digestOfSet(state.key, held)
  const steers = held.values().some(cidr => kernel.steered.has(cidr))
  return { accepts, steers, parked: state.phase === 'accepting' && state.parked }
}
