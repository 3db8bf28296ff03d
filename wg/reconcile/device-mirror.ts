import type { PublicKey } from '#keys/public-key.ts'
import type { DeviceStatus, PeerChange, PeerStatus } from '../device/device.ts'
import type { Cidr, Endpoint, IpAddress } from '../ip.ts'
import type { Link } from '../rtnetlink/link.ts'

/** What the kernel holds of one device, there or not, as far as we know. */
export class DeviceMirror {
  readonly name: string
  link: Link | undefined
  status: Omit<DeviceStatus, 'peers'> | undefined
  readonly peers = new Map<PublicKey, PeerStatus>()
  readonly addresses = new Set<IpAddress>()
  /** The device's sysctls have been looked at since the kernel was read. */
  tuned = false
  /** The endpoint last written for each key. */
  readonly writtenEndpoints = new Map<PublicKey, Endpoint>()

  constructor(name: string) {
    this.name = name
  }

  /** What the device says now; learned endpoints, handshakes and counters among it. */
  noteStatus(status: DeviceStatus | undefined): void {
    this.status = status
    this.peers.clear()
    for (const [key, peer] of status?.peers ?? []) this.peers.set(key, peer)
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
      this.peers.delete(publicKey)
      this.writtenEndpoints.delete(publicKey)
      return
    }
    const added = new Set(change.addAllowedIps)
    for (const [key, peer] of this.peers) {
      if (key === publicKey || !intersects(peer.allowedIps, added)) continue
      this.peers.set(key, { ...peer, allowedIps: without(peer.allowedIps, added) })
    }
    const peer = this.peers.get(publicKey) ?? untouchedPeer(publicKey)
    if (change.endpoint) this.writtenEndpoints.set(publicKey, change.endpoint)
    this.peers.set(publicKey, {
      ...peer,
      allowedIps: without(new Set([...peer.allowedIps, ...added]), new Set(change.removeAllowedIps)),
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

const intersects = (a: ReadonlySet<Cidr>, b: ReadonlySet<Cidr>): boolean => !a.isDisjointFrom(b)

const without = (all: ReadonlySet<Cidr>, gone: ReadonlySet<Cidr>): ReadonlySet<Cidr> => all.difference(gone)
