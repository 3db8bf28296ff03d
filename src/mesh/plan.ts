import type { PublicKey } from '#keys/public-key.ts'
import { cidrContains, familyOf, type IpAddress, nthAddress } from '#wg/ip.ts'
import type { DesiredFamily } from '#wg/reconcile/desired.ts'
import { addressesOf, type CidrClaims, claimCidrs, claimKeys, type KeyClaims, nodeAddresses } from './claims.ts'
import { desiredPeers } from './desired-peers.ts'
import { desiredRoutes, desiredRules } from './desired-routes.ts'
import { digestOf } from './digest.ts'
import type { FamilyView } from './family-view.ts'
import { type Digest, HELLO_VERSION, type HelloContent } from './hello-content.ts'
import type { Announcement, NodeName, NodeRecord } from './node-record.ts'
import { ABSENT, type ObservedPeer, type PeerState, type PeerStates, type Standing, stepPeer } from './peer-machine.ts'

export interface FamilyPlan {
  readonly peers: PeerStates
  readonly desired: DesiredFamily
  /** What this node should announce; undefined withdraws. */
  readonly announce: Announcement | undefined
  /** Claims that were refused, by node. */
  readonly refused: ReadonlyMap<NodeName, readonly string[]>
}

/** What the kernel must hold, and why, given the cluster, the configuration and what was observed. Pure. */
export function planFamily(previous: PeerStates, view: FamilyView): FamilyPlan {
  const cidrs = claimCidrs(view.nodes.values(), view.cidrSource, view.family)
  const ownKey = view.key?.publicKey()
  const keys = claimKeys(view.nodes.values(), view.family, view.self, ownKey, incumbents(previous))
  const peers = stepAll(previous, view, cidrs, keys)
  return {
    peers,
    desired: desiredFamily(view, peers, cidrs),
    announce: announcement(view, peers, ownKey),
    refused: mergeRefusals(cidrs.refused, keys.refused),
  }
}

function stepAll(previous: PeerStates, view: FamilyView, cidrs: CidrClaims, keys: KeyClaims): PeerStates {
  const published = publishedDigest(view, cidrs)
  const next = new Map<NodeName, PeerState>()
  for (const name of new Set([...view.nodes.keys(), ...previous.keys()])) {
    if (name === view.self) continue
    const state = previous.get(name) ?? ABSENT
    const facts = {
      now: view.now,
      standing: standingOf(name, view, keys),
      observed: observe(state, view, view.nodes.get(name)),
      hello: view.hellos.get(name),
      published,
    }
    const stepped = view.routeSync ? stepPeer(state, facts) : unsteered(stepPeer(state, facts), state, view.now)
    if (stepped.phase !== 'absent' || view.nodes.has(name)) next.set(name, stepped)
  }
  return next
}

const NO_ROUTES = 'routeSyncDisabled: nothing is steered into the tunnel'

/** Whatever was proven, a peer without routes is one that is accepted, and no more. */
function unsteered(stepped: PeerState, before: PeerState, now: number): PeerState {
  if (stepped.phase !== 'encrypting' && stepped.phase !== 'accepting') return stepped
  const { key, candidate, helloAddress } = stepped
  const baseline = stepped.phase === 'accepting' ? stepped.baseline : undefined
  const since = before.phase === 'accepting' && before.key === key ? before.since : now
  return { phase: 'accepting', since, key, candidate, helloAddress, baseline, reason: NO_ROUTES }
}

function standingOf(name: NodeName, view: FamilyView, keys: KeyClaims): Standing {
  if (!view.enabled || !view.key) return { takesPart: false, reason: 'encryption is off on this node' }
  const node = view.nodes.get(name)
  if (!node) return { takesPart: false, reason: 'its Node object is gone' }
  const announced = node.announced[view.family]
  if (!announced) return { takesPart: false, reason: ['it announces no WireGuard key', ...node.faults].join('; ') }
  if (keys.owner.get(announced.publicKey) !== name)
    return { takesPart: false, reason: keys.refused.get(name)?.join('; ') ?? 'its key is not believed' }
  if (nodeAddresses(node, view.family).length === 0)
    return { takesPart: false, reason: `it has no IPv${view.family} address` }
  return { takesPart: true, key: announced.publicKey, helloAddress: helloAddress(announced) }
}

const helloAddress = (announced: Announcement): IpAddress | undefined =>
  announced.hello === undefined ? undefined : announced.interfaceAddress

function observe(state: PeerState, view: FamilyView, node: NodeRecord | undefined): Map<PublicKey, ObservedPeer> {
  const observed = new Map<PublicKey, ObservedPeer>()
  const keys = [
    state.phase === 'absent' ? undefined : state.key,
    state.phase === 'accepting' || state.phase === 'encrypting' ? state.candidate : undefined,
    node?.announced[view.family]?.publicKey,
  ]
  for (const key of keys) {
    const peer = key === undefined ? undefined : view.kernel.peers.get(key)
    if (!peer) continue
    const { latestHandshake, rxBytes, endpoint } = peer
    const endpointIsPublished =
      endpoint !== undefined &&
      ((node?.addresses.includes(endpoint.address) ?? false) ||
        view.natExceptions.some(cidr => cidrContains(cidr, endpoint.address)))
    observed.set(peer.publicKey, { latestHandshake, rxBytes, endpointIsPublished })
  }
  return observed
}

/** Who uses which key, or announced it first as its next: copying it takes neither away. */
function incumbents(states: PeerStates): Map<PublicKey, NodeName> {
  const holders = new Map<PublicKey, NodeName>()
  for (const [node, state] of states)
    if ((state.phase === 'accepting' || state.phase === 'encrypting') && state.candidate !== undefined)
      holders.set(state.candidate, node)
  // Last, as a key in use counts for more than one that is merely announced.
  for (const [node, state] of states) if (state.phase !== 'absent') holders.set(state.key, node)
  return holders
}

/** Digest of what the others must accept from us; undefined until our Node says that our key is the one in use. */
function publishedDigest(view: FamilyView, cidrs: CidrClaims): Digest | undefined {
  const own = view.nodes.get(view.self)
  if (!own || !view.key || own.announced[view.family]?.publicKey !== view.key.publicKey()) return undefined
  return digestOf(addressesOf(own, view.family, cidrs, view.cidrSource))
}

function desiredFamily(view: FamilyView, states: PeerStates, cidrs: CidrClaims): DesiredFamily {
  const { family, config, key, enabled } = view
  const lingering = [...states.values()].some(state => state.phase !== 'absent')
  if (!key || (!enabled && !lingering))
    return { family, device: undefined, peers: new Map(), routes: [], rules: [], routeProtocol: config.routeProtocol }
  return {
    family,
    device: {
      name: config.interfaceName,
      privateKey: key,
      listenPort: config.listenPort,
      fwmark: config.mark,
      mtu: config.mtu,
      addresses: new Set(deviceAddress(view)),
    },
    peers: desiredPeers(view, states, cidrs),
    routes: [...desiredRoutes(view, states, cidrs)],
    rules: desiredRules(view),
    routeProtocol: config.routeProtocol,
  }
}

/**
 * What was allocated for the device, else the first address of our first pod CIDR, as Felix has it with host-local IPAM:
 * ours alone, and inside what we announce, so that what a host sends to a remote pod has a source that comes back through
 * the tunnel.
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
function announcement(view: FamilyView, states: PeerStates, ownKey: PublicKey | undefined): Announcement | undefined {
  if (!view.enabled || ownKey === undefined) return undefined
  const own = view.nodes.get(view.self)
  const standing = own?.announced[view.family]?.publicKey === ownKey
  const programmed = [...states.values()].every(state => state.phase === 'absent' || view.kernel.peers.has(state.key))
  if (!own || !(standing || (view.kernel.up && programmed))) return undefined
  return {
    publicKey: ownKey,
    interfaceAddress: deviceAddress(view)[0],
    port: view.config.listenPort,
    hello: HELLO_VERSION,
  }
}

/**
 * What the kernel's present content entitles us to say to each peer that speaks hello. What is merely planned is not
 * said: ask after the plan was carried out.
 */
export function hellosOf(view: FamilyView, states: PeerStates): Map<NodeName, HelloContent> {
  const hellos = new Map<NodeName, HelloContent>()
  for (const [name, state] of states) {
    if (state.phase === 'absent' || state.helloAddress === undefined) continue
    const held = view.kernel.peers.get(state.key)?.allowedIps ?? new Set()
    const accepts = state.phase === 'lingering' || held.size === 0 ? undefined : digestOf(held)
    hellos.set(name, { accepts, steers: [...held].some(cidr => view.kernel.steered.has(cidr)) })
  }
  return hellos
}

function mergeRefusals(...all: ReadonlyMap<NodeName, readonly string[]>[]): Map<NodeName, string[]> {
  const merged = new Map<NodeName, string[]>()
  for (const refused of all)
    for (const [node, faults] of refused) merged.set(node, [...(merged.get(node) ?? []), ...faults])
  return merged
}
