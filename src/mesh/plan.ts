import type { PublicKey } from '#keys/public-key.ts'
import { type Cidr, familyOf, type IpAddress, nthAddress } from '#wg/ip.ts'
import type { DesiredDevice, DesiredFamily } from '#wg/reconcile/desired.ts'
import { type CidrClaims, claimCidrs, claimKeys, mergeRefusals } from './claims.ts'
import { desiredPeers } from './desired-peers.ts'
import { type DeviceNames, desiredRoutes, desiredRules } from './desired-routes.ts'
import { digestOfSet } from './digest.ts'
import type { FamilyView } from './family-view.ts'
import { HELLO_VERSION, type HelloContent } from './hello-content.ts'
import { hostsToSteer } from './host-steering.ts'
import { type LaneStates, pairStates, stepPairs } from './lanes.ts'
import { type MovePlan, planMove } from './move.ts'
import { type Announcement, LANES, type Lane, type Move, type NodeName, type SpareAnnouncement } from './node-record.ts'
import type { PeerState, PeerStates } from './peer-machine.ts'
import { PlanMemory } from './plan-memory.ts'

export interface FamilyPlan {
  /** The state of each pair on the device that its traffic is on. */
  readonly peers: PeerStates
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
 * What the kernel must hold, and why, given the cluster, the configuration and what was observed. Pure.
 * @param memory of the plans before; what has not changed since is the same object in this one
 */
export function planFamily(previous: LaneStates, view: FamilyView, memory = new PlanMemory()): FamilyPlan {
  const records = memory.records(view.nodes.values())
  const cidrs = claimCidrs(records, view.cidrSource, view.family, memory.cidrs)
  memory.cidrs = cidrs
  const own = memory.ownKeys(ownKeys(view))
  const holders = memory.incumbents([previous.main, previous.spare], () => incumbents(previous))
  const keys = memory.keys([records, own, holders, view.self], () =>
    claimKeys(records, view.family, view.self, new Set(own), holders),
  )
  const { move } = planMove(view, previous)
  const lanes = stepPairs(previous, view, move, cidrs, keys, memory)
  const wantsSpare = move !== undefined || somebodyMoves(view, lanes)
  const desired = desiredFamily(view, lanes, cidrs, wantsSpare, memory)
  return {
    peers: memory.pairs([lanes.main, lanes.spare], () => pairStates(lanes)),
    lanes,
    desired,
    announce: announcement(view, lanes.main),
    announceSpare: wantsSpare ? spareAnnouncement(view, move) : undefined,
    moving: { ...planMove(view, lanes), move },
    refused: mergeRefusals(cidrs.refused, keys.refused),
  }
}

const NOTHING: readonly never[] = []

const NO_ADDRESSES: ReadonlySet<Cidr> = new Set()

const ownKeys = (view: FamilyView): Set<PublicKey> =>
  new Set(LANES.map(lane => view.lanes[lane].identity?.privateKey.publicKey()).filter(key => key !== undefined))

/** Who uses which key, or announced it first as its next: copying it takes neither away. */
function incumbents(states: LaneStates): Map<PublicKey, NodeName> {
  const holders = new Map<PublicKey, NodeName>()
  const all = LANES.flatMap(lane => [...states[lane]])
  for (const [node, state] of all)
    if ((state.phase === 'accepting' || state.phase === 'encrypting') && state.candidate !== undefined)
      holders.set(state.candidate, node)
  // Last, as a key in use counts for more than one that is merely announced.
  for (const [node, state] of all) if (state.phase !== 'absent') holders.set(state.key, node)
  return holders
}

/** Somebody else's main device changes, and its traffic with us must have somewhere to go. */
const somebodyMoves = (view: FamilyView, { main }: LaneStates): boolean =>
  view.nodes.values().some(({ name, spare }) => spare[view.family]?.move !== undefined && takesPart(main.get(name)))

const takesPart = (state: PeerState | undefined): boolean =>
  state?.phase === 'accepting' || state?.phase === 'encrypting'

function desiredFamily(
  view: FamilyView,
  states: LaneStates,
  cidrs: CidrClaims,
  wantsSpare: boolean,
  memory: PlanMemory,
): DesiredFamily {
  const { family, config } = view
  const devices = new Map<Lane, DesiredDevice>()
  const addresses = new Set(deviceAddress(view))
  for (const lane of LANES) {
    const { identity } = view.lanes[lane]
    const inUse = states[lane].values().some(state => state.phase !== 'absent')
    if (!identity || !(inUse || (view.enabled && (lane === 'main' || wantsSpare)))) continue
    const peers = desiredPeers(view, lane, states[lane], cidrs, memory.peers[lane])
    devices.set(lane, { ...identity, fwmark: config.mark, mtu: config.mtu, addresses, peers })
  }
  const names: DeviceNames = { main: devices.get('main')?.name, spare: devices.get('spare')?.name }
  // All that desiredRoutes() looks at.
  const { mesh, nodes, device, spare, hosts } = config.tables
  const byTunnel = memory.hosts(hostsToSteer(view, states))
  const source = view.hosts?.source
  const inputs = [
    cidrs.found,
    memory.records(view.nodes.values()),
    states.main,
    states.spare,
    names.main,
    names.spare,
    view.pathMtus,
    byTunnel,
    source,
    hosts,
  ]
  const routes = memory.routes([...inputs, view.routeSync, mesh, nodes, device, spare], () =>
    memory.share(desiredRoutes(view, states, cidrs, names, source && { source, nodes: new Set(byTunnel) })),
  )
  return {
    family,
    devices: [...devices.values()],
    routes: devices.size === 0 ? NOTHING : routes,
    rules: devices.size === 0 ? [] : desiredRules(view, names),
    routeProtocol: config.routeProtocol,
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
  const programmed = states.values().every(state => state.phase === 'absent' || kernel.peers.has(state.key))
  if (!own || !(standing || (kernel.up && programmed))) return undefined
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
  const { kernel } = view.lanes[lane]
  const hellos = new Map<NodeName, HelloContent>()
  for (const [name, state] of states) {
    if (state.phase === 'absent' || state.helloAddress === undefined) continue
    const held = kernel.peers.get(state.key)?.allowedIps ?? NO_ADDRESSES
    const accepts = state.phase === 'lingering' || held.size === 0 ? undefined : digestOfSet(state.key, held)
    const steers = held.values().some(cidr => kernel.steered.has(cidr))
    hellos.set(name, { accepts, steers, parked: state.phase === 'accepting' && state.parked })
  }
  return hellos
}
