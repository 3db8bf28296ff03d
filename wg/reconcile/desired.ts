import type { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { Few } from '../few.ts'
import type { Cidr, Endpoint, Family, IpAddress } from '../ip.ts'

/** One WireGuard device, with what each peer may send and be sent through it. */
export interface DesiredDevice {
  readonly name: string
  readonly privateKey: PrivateKey
  readonly listenPort: number
  readonly fwmark: number
  /** Bytes. */
  readonly mtu: number
  /** Host addresses, each of full prefix length. */
  readonly addresses: ReadonlySet<IpAddress>
  readonly peers: ReadonlyMap<PublicKey, DesiredPeer>
}

export interface DesiredPeer {
  /** Where to send before the peer has been heard; undefined leaves the endpoint to be learned. */
  readonly endpoint: Endpoint | undefined
  /**
   * A learned endpoint at one of these addresses is left alone; at any other it is set back. `anywhere`: it is written when
   * the peer is made and never after, so that it tells where the peer's handshake came from.
   */
  readonly mayRoamTo: Few<IpAddress> | 'anywhere'
  readonly allowedIps: ReadonlySet<Cidr>
  /** Seconds; 0 is off. */
  readonly persistentKeepalive: number
}

/** A route in one of our own tables. */
export type DesiredRoute = { readonly table: number; readonly destination: Cidr } & (
  | {
      readonly type: 'unicast'
      /** Name of the device that it leads through. */
      readonly device: string
      /** Path MTU in bytes where it is smaller than the device's. */
      readonly mtu?: number
      /** What this host takes as the source of what it sends; must be an address of its own. */
      readonly source?: IpAddress
    }
  | { readonly type: 'throw' }
)

export interface DesiredRule {
  readonly priority: number
  readonly table: number
  /** `not …`: applies to what the selector does not match. */
  readonly invert: boolean
  readonly fwmark: number
  /** 0 is no look at the mark. */
  readonly fwmask: number
  readonly source: Cidr | undefined
  /** Name of the outgoing interface that a socket is bound to. */
  readonly outputInterface: string | undefined
  /** Name of the interface that a packet came in by; `lo` is what this host sends itself. */
  readonly inputInterface?: string
}

/** All that the kernel must hold for one family. */
export interface DesiredFamily {
  readonly family: Family
  /** The main one first, and whatever else can be had. None: nothing of this family, and what is there goes. */
  readonly devices: readonly DesiredDevice[]
  /** By desiredSlot(). */
  readonly routes: ReadonlyMap<string, DesiredRoute>
  readonly rules: readonly DesiredRule[]
  /** rtnetlink protocol number of the routes. */
  readonly routeProtocol: number
}

/** What somebody else has beside what is ours, as far as it may matter. */
export interface Others {
  /** Rules that look up none of our tables. */
  readonly rules: readonly OtherRule[]
  /** Routes in our tables that lead to another device than ours. */
  readonly routes: readonly OtherRoute[]
}

export interface OtherRule extends Pick<DesiredRule, 'priority' | 'invert' | 'fwmark'> {
  /** As a person reads it. */
  readonly words: string
}

export interface OtherRoute {
  readonly table: number
  readonly words: string
}

/** What a family owns by name and number: what is looked at, and what is removed when nothing is desired. */
export interface Ownership {
  readonly family: Family
  readonly deviceNames: ReadonlySet<string>
  readonly tables: ReadonlySet<number>
  /** A table that is ours as well where a rule of ours for what this host sends (`iif lo`) looks it up. */
  readonly hostTable?: number | undefined
}
