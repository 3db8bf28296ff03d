import type { PublicKey } from '#keys/public-key.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import {
  addressBits,
  type Cidr,
  cidrAddress,
  cidrContains,
  type Family,
  hostCidr,
  type IpAddress,
  prefixLength,
} from '#wg/ip.ts'
import { atOnce } from '#wg/slices.ts'
import type { CidrClaims } from './claims.ts'
import type { FamilyView } from './family-view.ts'
import { helloAddress, type LaneStates, NO_STATES } from './lanes.ts'
import { type Lane, type NodeName, type NodeRecord, nodeThatIsGone } from './node-record.ts'
import type { PeerState, PeerStates } from './peer-machine.ts'
import { PlanMemory } from './plan-memory.ts'
import { announcedKey } from './record-facts.ts'
import { Slice } from './slice.ts'

/**
 * The states that a kernel left by an earlier agent amounts to: a steered peer is an encrypting peer, any other an
 * accepting one. A peer is known by the node whose prefixes it holds, which nobody else can claim by copying its key, else by
 * its key.
 */
export const adoptPeers = (view: FamilyView): LaneStates =>
  atOnce(adoptInSlices(() => view, new PlanMemory(), Number.POSITIVE_INFINITY))

/**
 * The same, a slice at a time.
 * @param look at what there is now
 * @param memory that plans go on from
 * @param most how many nodes a slice looks at
 */
export function* adoptInSlices(
  look: () => FamilyView,
  memory: PlanMemory,
  most: number,
): Generator<undefined, LaneStates> {
  const tables = memory.resume(NO_STATES, look())
  for (;;) {
    const view = look()
    if (tables.takeNodes(view, new Slice(most))) {
      tables.adopt({ main: adoptLane(view, 'main', tables.cidrs), spare: adoptLane(view, 'spare', tables.cidrs) })
      return tables.states
    }
    yield
  }
}

function adoptLane(view: FamilyView, lane: Lane, cidrs: CidrClaims): PeerStates {
  const { kernel } = view.lanes[lane]
  const byKey = new Map<PublicKey, NodeName>()
  for (const node of view.nodes.values()) {
    const key = announcedKey(node, view.family, lane)
    if (key !== undefined && node.name !== view.self && !byKey.has(key)) byKey.set(key, node.name)
  }
  const adopted = new Map<NodeName, PeerState>()
  for (const peer of kernel.peers.values()) {
    const held = [...peer.allowedIps]
    const byPrefix = held.map(cidr => cidrs.owner.get(cidr)).find(name => name !== undefined && name !== view.self)
    const announces = byKey.get(peer.publicKey)
    const isItsOwn = announces !== undefined && held.some(cidr => cidrs.addresses(announces).has(cidr))
    const named = byPrefix ?? (isItsOwn ? announces : undefined)
    // It may go on sending, whatever has become of its Node: it is to linger as if that had been seen to go.
    const node = named ?? nodeThatIsGone(peer.publicKey)
    // A key without allowed IPs was a candidate: it will be one again.
    if (held.length === 0) continue
    const common = {
      since: view.now,
      key: peer.publicKey,
      candidate: undefined,
      helloAddress: whereItSpeaks(view.nodes.get(node), view.family, peer),
      reason: 'found in the kernel at start',
    }
    const steered = held.some(cidr => kernel.steered.has(cidr))
    adopted.set(
      node,
      steered
        ? { ...common, phase: 'encrypting' }
        : { ...common, phase: 'accepting', baseline: undefined, parked: false },
    )
  }
  return adopted
}

/**
 * Where the hello of a node is spoken; of one that announces nothing any more it is what its peer holds beside its addresses
 * and pods, so that it still hears that we stop.
 */
function whereItSpeaks(node: NodeRecord | undefined, family: Family, peer: PeerStatus): IpAddress | undefined {
  const announced = node?.announced[family]
  if (announced) return helloAddress(announced)
  const known = new Set<Cidr>([
    ...(node?.podCidrs ?? []),
    ...[...(node?.addresses ?? []), ...(node?.tunnels ?? [])].map(hostCidr),
  ])
  const hosts = [...peer.allowedIps].filter(cidr => prefixLength(cidr) === addressBits(family) && !known.has(cidr))
  const amongPods = hosts.filter(host =>
    peer.allowedIps.values().some(cidr => cidr !== host && cidrContains(cidr, cidrAddress(host))),
  )
  const [device, ...others] = amongPods.length > 0 ? amongPods : hosts
  return device === undefined || others.length > 0 ? undefined : cidrAddress(device)
}
