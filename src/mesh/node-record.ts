import type { PublicKey } from '#keys/public-key.ts'
import type { Cidr, Family, IpAddress } from '#wg/ip.ts'

declare const brand: unique symbol

/** metadata.name of a Node. */
export type NodeName = string & { readonly [brand]: 'NodeName' }

const GONE = 'gone/'

/** What a peer is called that no Node accounts for; no Node has such a name. */
export const nodeThatIsGone = (key: PublicKey): NodeName => `${GONE}${key}` as NodeName

export const isGone = (name: NodeName): boolean => name.startsWith(GONE)

/** What a node says of its own WireGuard in one family. */
export interface Announcement {
  readonly publicKey: PublicKey
  /** The device's own address (projectcalico.org/IPv4WireguardInterfaceAddr), where it has one. */
  readonly interfaceAddress: IpAddress | undefined
  /** UDP port it listens on. A Felix node says none: it is what FelixConfiguration has for that node. */
  readonly port: number | undefined
  /** Version of the hello protocol that it speaks; undefined for a Felix node. */
  readonly hello: number | undefined
  /** It steers what it sends to nodes that say the same. */
  readonly encryptsHosts?: true
}

/**
 * Which of a node's two devices of one family. The main one has Felix's name and port; the spare one carries traffic while
 * the main one is given another key, port or name.
 */
export type Lane = 'main' | 'spare'

export const LANES = ['main', 'spare'] as const satisfies readonly Lane[]

/**
 * Where a node whose main device changes wants its traffic: `away` from that device before it changes, and `back` on it
 * afterwards.
 */
export type Move = 'away' | 'back'

/** What a node says of its spare device, while it has one. */
export interface SpareAnnouncement {
  readonly publicKey: PublicKey
  /** UDP port it listens on. */
  readonly port: number
  /** Undefined: this node's main device stays as it is; the spare one is there for somebody else's sake. */
  readonly move: Move | undefined
}

/** One thing for each family. An object that has numbers for its keys keeps an array for them with room for 23: 250 bytes, this has 40. */
class OfFamilies<T> implements Readonly<Record<Family, T | undefined>> {
  readonly v4: T | undefined
  readonly v6: T | undefined

  constructor(v4: T | undefined, v6: T | undefined) {
    this.v4 = v4
    this.v6 = v6
  }

  get 4(): T | undefined {
    return this.v4
  }

  get 6(): T | undefined {
    return this.v6
  }
}

/** One for each family; the same object for all that have neither. */
export const ofFamilies = <T>(v4: T | undefined, v6: T | undefined): Readonly<Record<Family, T | undefined>> =>
  v4 === undefined && v6 === undefined ? NEITHER : new OfFamilies(v4, v6)

const NEITHER = Object.freeze(new OfFamilies<never>(undefined, undefined))

/** What the mesh keeps of a Node object. */
export interface NodeRecord {
  readonly name: NodeName
  readonly uid: string
  /** Unix time in seconds of metadata.creationTimestamp: the older of two claimants wins. */
  readonly createdAt: number
  /** status.addresses, InternalIP before ExternalIP, as the API orders them. */
  readonly addresses: readonly IpAddress[]
  /** What of the pods' addresses is this node's, by the route source that counts: spec.podCIDRs, or what was found to be its. */
  readonly podCidrs: readonly Cidr[]
  /** Addresses of the node's IPIP and VXLAN devices, as Calico says. */
  readonly tunnels: readonly IpAddress[]
  /** What the node's own devices are to have; absent where that follows from the pod CIDRs. */
  readonly deviceAddresses?: Readonly<Partial<Record<Family, IpAddress>>>
  readonly announced: Readonly<Record<Family, Announcement | undefined>>
  readonly spare: Readonly<Record<Family, SpareAnnouncement | undefined>>
  /** What of the object could not be used, one sentence each. */
  readonly faults: readonly string[]
}
