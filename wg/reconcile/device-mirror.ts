import type { PublicKey } from '#keys/public-key.ts'
import type { DeviceStatus, PeerChange, PeerStatus } from '../device/device.ts'
import { sharedPeer } from '../device/shared-peer.ts'
import type { Cidr, Endpoint, IpAddress } from '../ip.ts'
import type { Link } from '../rtnetlink/link.ts'
import { Table } from '../table.ts'
import { PeerDifferences } from './peers.ts'

/** What the kernel holds of one device, there or not, as far as we know. */
export class DeviceMirror {
  readonly name: string
  link: Link | undefined
  /** What was this device, and has another name now. */
  renamed: Link | undefined
  status: Omit<DeviceStatus, 'peers'> | undefined
  readonly peers = new Table<PublicKey, PeerStatus>()
  readonly addresses = new Set<IpAddress>()
  /** The device's sysctls have been looked at since the kernel was read. */
  tuned = false
  /** The endpoint last written for each key. */
  readonly writtenEndpoints = new Map<PublicKey, Endpoint>()
  /** What of the desired peers and of these has to be compared. */
  readonly differences = new PeerDifferences()
  /** Who holds each prefix: a prefix that is given to one is taken from another. */
  readonly #holders = new Map<Cidr, PublicKey>()

  constructor(name: string) {
    this.name = name
  }

  /** What the device says now; learned endpoints, handshakes and counters among it. A peer that is as it was stays the same object. */
  noteStatus(status: DeviceStatus | undefined): void {
    this.status = status
    this.#holders.clear()
    for (const key of this.peers.keys()) if (!status?.peers.has(key)) this.peers.delete(key)
    for (const [key, read] of status?.peers ?? []) {
      const peer = sharedPeer(this.peers.get(key), read)
      this.peers.set(key, peer)
      for (const cidr of peer.allowedIps) this.#holders.set(cidr, key)
    }
    for (const key of this.writtenEndpoints.keys()) if (!this.peers.has(key)) this.writtenEndpoints.delete(key)
  }

  /** It has been taken away. */
  noteRemoval(): void {
    this.link = undefined
    this.tuned = false
    this.addresses.clear()
    this.noteStatus(undefined)
  }

  /** What a change that was written makes of the peers, a prefix moving from one to another included. */
  notePeer(change: PeerChange): void {
    const { publicKey } = change
    if (change.kind === 'remove') {
      for (const cidr of this.peers.get(publicKey)?.allowedIps ?? []) this.#holders.delete(cidr)
      this.peers.delete(publicKey)
      this.writtenEndpoints.delete(publicKey)
      return
    }
    const added = new Set(change.addAllowedIps)
    const losers = new Set([...added].map(cidr => this.#holders.get(cidr)))
    for (const key of losers) {
      const peer = key === undefined || key === publicKey ? undefined : this.peers.get(key)
      if (peer) this.peers.set(peer.publicKey, { ...peer, allowedIps: peer.allowedIps.difference(added) })
    }
    for (const cidr of added) this.#holders.set(cidr, publicKey)
    for (const cidr of change.removeAllowedIps ?? [])
      if (this.#holders.get(cidr) === publicKey) this.#holders.delete(cidr)
    const peer = this.peers.get(publicKey) ?? untouchedPeer(publicKey)
    if (change.endpoint) this.writtenEndpoints.set(publicKey, change.endpoint)
    this.peers.set(publicKey, {
      ...peer,
      allowedIps: peer.allowedIps.union(added).difference(new Set(change.removeAllowedIps)),
      endpoint: change.endpoint ?? peer.endpoint,
      persistentKeepalive: change.persistentKeepalive ?? peer.persistentKeepalive,
    })
  }
}

const untouchedPeer = (publicKey: PublicKey): PeerStatus => ({
  publicKey,
  endpoint: undefined,
  allowedIps: new Set(),
  persistentKeepalive: 0,
  latestHandshake: 0n,
  rxBytes: 0n,
  txBytes: 0n,
})
