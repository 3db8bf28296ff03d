import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import { podCidrSource } from '#src/mesh/claims.ts'
import type { FamilyView, LaneView, ObservedKernel } from '#src/mesh/family-view.ts'
import type { Announcement, NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { FamilyPlan } from '#src/mesh/plan.ts'
import { type PeerStatus, untouchedPeer } from '#wg/device/device.ts'
import { type Cidr, type Endpoint, nthAddress, parseAddress, parseCidr } from '#wg/ip.ts'
import type { DesiredPeer, DesiredRoute } from '#wg/reconcile/desired.ts'
import { CONFIG } from './world.ts'

/** Keys by number, the same in every run. */
export const privateKey = (number: number): PrivateKey => PrivateKey.fromBytes(new Uint8Array(32).fill(number))

const publicKeys = new Map<number, PublicKey>()

export function publicKey(number: number): PublicKey {
  const known = publicKeys.get(number) ?? privateKey(number).publicKey()
  publicKeys.set(number, known)
  return known
}

export const name = (index: number): NodeName => `node-${index}` as NodeName

export const podCidr = (index: number): Cidr => parseCidr(`10.244.${index}.0/24`)

/** What a Podveil node of this number says of itself, unless told otherwise. */
export function announcement(index: number, fields: Partial<Announcement> = {}): Announcement {
  return {
    publicKey: publicKey(index),
    interfaceAddress: nthAddress(podCidr(index), 1),
    port: 51820,
    hello: 1,
    ...fields,
  }
}

export function nodeRecord(index: number, fields: Partial<NodeRecord> = {}): NodeRecord {
  return {
    name: name(index),
    uid: `uid-${index}`,
    createdAt: 1_000 + index,
    addresses: [parseAddress(`10.200.0.${index}`)],
    podCidrs: [podCidr(index)],
    tunnels: [],
    announced: { 4: announcement(index), 6: undefined },
    spare: { 4: undefined, 6: undefined },
    faults: [],
    ...fields,
  }
}

export const peerStatus = (key: PublicKey, fields: Partial<PeerStatus> = {}): PeerStatus => ({
  ...untouchedPeer(key),
  ...fields,
})

export const endpointOf = (index: number, port = 51820): Endpoint => ({
  address: parseAddress(`10.200.0.${index}`),
  port,
})

/** What node 1 looks at, with nothing in its kernel unless told otherwise. @param main its main device */
export function viewOf(
  records: Iterable<NodeRecord>,
  { main, ...fields }: Partial<FamilyView> & { main?: Partial<LaneView> } = {},
): FamilyView {
  return {
    family: 4,
    now: 1_000,
    wallTime: 0,
    self: name(1),
    nodes: new Map(Array.from(records, record => [record.name, record])),
    natExceptions: [],
    left: new Map(),
    pinsEndpoints: false,
    pathMtus: new Map(),
    routeSync: true,
    cidrSource: podCidrSource,
    enabled: true,
    config: CONFIG,
    lanes: {
      main: {
        identity: { name: CONFIG.interfaceName, listenPort: CONFIG.listenPort, privateKey: privateKey(1) },
        kernel: { up: true, peers: new Map(), steered: new Set() },
        hellos: new Map(),
        ...main,
      },
      spare: { identity: undefined, kernel: NO_KERNEL, hellos: new Map() },
    },
    mainChanges: false,
    ...fields,
  }
}

const NO_KERNEL: ObservedKernel = { up: false, peers: new Map(), steered: new Set() }

/** The same with something else on the main device. */
export const withMain = (view: FamilyView, main: Partial<LaneView>): FamilyView => ({
  ...view,
  lanes: { ...view.lanes, main: { ...view.lanes.main, ...main } },
})

/** What a plan wants the main device's peers to be. */
export const mainPeers = ({ desired }: FamilyPlan): ReadonlyMap<PublicKey, DesiredPeer> =>
  desired.devices.find(({ name }) => name === CONFIG.interfaceName)?.peers ?? new Map()

export const plannedRoutes = ({ desired }: FamilyPlan): readonly DesiredRoute[] => [...desired.routes.values()]
