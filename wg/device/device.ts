import type { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { Cidr, Endpoint } from '../ip.ts'

/** Which implementation of WireGuard carries the traffic. */
export type DeviceKind = 'kernel' | 'userspace'

/** A peer as the device has it. */
export interface PeerStatus {
  readonly publicKey: PublicKey
  /** Undefined until configured or learned. */
  readonly endpoint: Endpoint | undefined
  readonly allowedIps: ReadonlySet<Cidr>
  /** Seconds, 0 is off. */
  readonly persistentKeepalive: number
  /** Unix time in nanoseconds of the last completed handshake, 0n for never. */
  readonly latestHandshake: bigint
  readonly rxBytes: bigint
  readonly txBytes: bigint
}

/** A peer of which nothing has been set or seen. */
export const untouchedPeer = (publicKey: PublicKey): PeerStatus => ({
  publicKey,
  endpoint: undefined,
  allowedIps: new Set(),
  persistentKeepalive: 0,
  latestHandshake: 0n,
  rxBytes: 0n,
  txBytes: 0n,
})

/** A device as it stands. */
export interface DeviceStatus {
  readonly name: string
  readonly publicKey: PublicKey | undefined
  /** Read back for adoption; undefined when the device has none. */
  readonly privateKey: PrivateKey | undefined
  /** UDP port; 0 before one was chosen. */
  readonly listenPort: number
  /** 0 is none. */
  readonly fwmark: number
  readonly peers: ReadonlyMap<PublicKey, PeerStatus>
}

/** Some of a device's peers, and how many it has in all. */
export interface SomePeers {
  readonly total: number
  /** Those that were asked for and are there. */
  readonly peers: ReadonlyMap<PublicKey, PeerStatus>
}

/**
 * A change to one peer. There is no way to replace allowed IPs as a whole on purpose: replacing loses packets.
 * Adding a prefix that another peer has moves it atomically.
 */
export type PeerChange =
  | { readonly kind: 'remove'; readonly publicKey: PublicKey }
  | {
      readonly kind: 'set'
      readonly publicKey: PublicKey
      /** Do nothing when the peer is not there (WGPEER_F_UPDATE_ONLY). */
      readonly updateOnly?: boolean
      readonly endpoint?: Endpoint | undefined
      readonly persistentKeepalive?: number | undefined
      readonly addAllowedIps?: readonly Cidr[]
      readonly removeAllowedIps?: readonly Cidr[]
    }

/** A change to a device: only what is named is written. */
export interface DeviceChange {
  readonly privateKey?: PrivateKey
  readonly listenPort?: number
  readonly fwmark?: number
  /** In this order. */
  readonly peers?: readonly PeerChange[]
}

/**
 * WireGuard devices of this network namespace, whichever implementation makes them. Links' addresses, MTU and state are
 * rtnetlink's business, the same for both.
 */
export interface WireGuardDevices {
  readonly kind: DeviceKind
  /** Makes the device where it is missing, down and without key. Idempotent; adopts a running userspace process. @throws DeviceError */
  create(name: string): Promise<void>
  /**
   * @param known peers as they are known: one that is as it was stays the same object
   * @returns undefined when there is no such device
   * @throws DeviceError
   */
  read(name: string, known?: ReadonlyMap<PublicKey, PeerStatus>): Promise<DeviceStatus | undefined>
  /**
   * Reads some peers. The device tells of all of them whatever is asked for; of the others nothing is taken apart.
   * @returns undefined when there is no such device
   * @throws DeviceError
   */
  readSome(name: string, keys: ReadonlySet<PublicKey>): Promise<SomePeers | undefined>
  /** Writes the change; large changes are split over messages without repeating device attributes. @throws DeviceError */
  configure(name: string, change: DeviceChange): Promise<void>
  /** Removes all peers, then the device; what is absent is fine. @throws DeviceError */
  remove(name: string): Promise<void>
}

export type DeviceErrorReason =
  | 'no-such-device'
  | 'not-wireguard'
  | 'unsupported'
  | 'not-permitted'
  | 'address-in-use'
  | 'refused'

/** Why a device could not be made, read or changed, and what to do about it. Never contains key material. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError'
  readonly code = 'ERR_WIREGUARD_DEVICE'
  readonly reason: DeviceErrorReason
  readonly device: string
  constructor(reason: DeviceErrorReason, device: string, message: string, options?: ErrorOptions) {
    super(`${device}: ${message}`, options)
    this.reason = reason
    this.device = device
  }
}
