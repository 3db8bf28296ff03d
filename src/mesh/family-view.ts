import type { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import type { Cidr, Family, IpAddress } from '#wg/ip.ts'
import type { CidrSource } from './claims.ts'
import type { HeardHello } from './hello-content.ts'
import type { Lane, NodeName, NodeRecord } from './node-record.ts'

/** One family's part of the configuration, with marks, tables and MTU decided. */
export interface FamilyConfig {
  /** Of the main device, as it is to be. */
  readonly interfaceName: string
  readonly listenPort: number
  readonly mtu: number
  readonly persistentKeepalive: number
  /** Priority of Felix's rule; ours go just before and after it. */
  readonly rulePriority: number
  readonly mark: number
  readonly tables: MeshTables
  /** What `tables.hosts` is while host encryption is on; undefined where the ranges have no fifth table. */
  readonly hostTable?: number | undefined
  readonly routeProtocol: number
}

export interface MeshTables {
  /** Felix's table: pod prefixes. */
  readonly mesh: number
  /** Remote nodes' own addresses, for pods only. */
  readonly nodes: number
  /** Everything into the tunnel, for sockets bound to the device: the hello. */
  readonly device: number
  /** The same for the spare device. */
  readonly spare: number
  /** Remote nodes' own addresses, for what this host sends; only with host encryption. */
  readonly hosts?: number
}

/** What others must know of a device to speak with it. */
export interface DeviceIdentity {
  readonly name: string
  readonly listenPort: number
  readonly privateKey: PrivateKey
}

/** One of this node's devices: what it is to be, what its kernel holds, and what was heard through it. */
export interface LaneView {
  /** Undefined while this node has no key. */
  readonly identity: DeviceIdentity | undefined
  readonly kernel: ObservedKernel
  readonly hellos: ReadonlyMap<NodeName, HeardHello>
}

/** What the kernel holds, as last read or written. */
export interface ObservedKernel {
  /** The device is there and up. */
  readonly up: boolean
  readonly peers: ReadonlyMap<PublicKey, PeerStatus>
  /** Destinations with a unicast route through the device in the mesh table or the node table. */
  readonly steered: ReadonlySet<Cidr>
  /** Destinations with a unicast route through the device in the host table. */
  readonly steeredHosts?: ReadonlySet<Cidr>
}

/** What host encryption goes by; it is on where this is there. */
export interface HostFacts {
  /** The address of this node that what it sends to other nodes comes from. */
  readonly source: IpAddress
  /** Keys of peers whose tunnel has not answered what was sent into it. */
  readonly mute: ReadonlySet<PublicKey>
}

/** All that the planner may look at. */
export interface FamilyView {
  readonly family: Family
  /** Milliseconds, monotonic. */
  readonly now: number
  /** Unix milliseconds, which handshakes are stamped with. */
  readonly wallTime: number
  readonly self: NodeName
  readonly nodes: ReadonlyMap<NodeName, NodeRecord>
  /** Addresses that each Node has ceased to publish, and since when, in Unix milliseconds. */
  readonly left: ReadonlyMap<NodeName, ReadonlyMap<IpAddress, number>>
  readonly cidrSource: CidrSource
  /** wireguardEnabled or wireguardEnabledV6, as it applies to this node. */
  readonly enabled: boolean
  /** False where routeSyncDisabled says that nothing is to be steered: devices, peers and rules are there all the same. */
  readonly routeSync: boolean
  /** Where packets of peers may come from beside their published addresses: gateways that translate. */
  readonly natExceptions: readonly Cidr[]
  /** Packets of peers come from published addresses and from `natExceptions`, and from nowhere else: the guard enforces. */
  readonly pinsEndpoints: boolean
  /** Of peers whose path carries less than the tunnel's MTU: what it carries, bytes. */
  readonly pathMtus: ReadonlyMap<NodeName, number>
  readonly config: FamilyConfig
  /** wireguardHostEncryptionEnabled, where this node can do it. */
  readonly hosts?: HostFacts | undefined
  readonly lanes: Readonly<Record<Lane, LaneView>>
  /** The main device is to get another key, port or name as soon as nothing goes by it. */
  readonly mainChanges: boolean
}
