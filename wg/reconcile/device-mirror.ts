import type { PublicKey } from '#keys/public-key.ts'
import { type DeviceStatus, type PeerChange, type PeerStatus, type SomePeers, untouchedPeer } from '../device/device.ts'
import { differsByTrafficAlone, sameSettings, sharedPeer } from '../device/shared-peer.ts'
import { type Cidr, type Endpoint, type IpAddress, sameEndpoint } from '../ip.ts'
import type { Link } from '../rtnetlink/link.ts'
import { sameSet } from '../same-set.ts'
import { Table } from '../table.ts'
import type { DesiredPeer } from './desired.ts'
import { PeerDifferences } from './peers.ts'

/** What the kernel holds of one device, there or not, as far as we know. */
export class DeviceMirror {
  readonly name: string
  link: Link | undefined
  /** What was this device, and has another name now. */
  renamed: Link | undefined
  status: Omit<DeviceStatus, 'peers'> | undefined
  /** That only its counters are others is no change of a peer. */
  readonly peers = new Table<PublicKey, PeerStatus>()
  readonly addresses = new Set<IpAddress>()
  /** The device's sysctls have been looked at since the kernel was read. */
  tuned = false
  /** The endpoint last written for each key. */
  readonly writtenEndpoints = new Map<PublicKey, Endpoint>()
  /** What of the desired peers and of these has to be compared. */
  readonly differences = new PeerDifferences()
  /** Who holds each prefix: a prefix that is given to one is taken from another. Undefined until one is given after others than we have moved some. */
  #holders: Map<Cidr, PublicKey> | undefined

  constructor(name: string) {
    this.name = name
  }

  /** What the device says now; learned endpoints, handshakes and counters among it. A peer that is as it was stays the same object. */
  noteStatus(status: DeviceStatus | undefined): void {
    const read = status?.peers ?? NO_PEERS
    this.status = status && withoutPeers(status)
    for (const key of this.peers.keys()) if (!read.has(key)) this.peers.delete(key)
    this.notePeers(read)
    for (const key of this.writtenEndpoints.keys()) if (!this.peers.has(key)) this.writtenEndpoints.delete(key)
  }

  /** What the device says of some peers. */
  notePeers(read: DeviceStatus['peers']): void {
    for (const [key, peer] of read) this.#put(key, peer)
  }

  /** Whether it has the peers that are known, and those that were asked for are as they were set. */
  agreesWith({ total, peers }: SomePeers, asked: ReadonlySet<PublicKey>): boolean {
    return (
      total === this.peers.size &&
      asked.values().every(key => this.peers.has(key) === peers.has(key)) &&
      peers.values().every(peer => sameSettings(this.peers.get(peer.publicKey), peer))
    )
  }

  /** Every peer that talks counts on, and nothing is planned of that: followers would look at all of them after each look. */
  #put(key: PublicKey, read: PeerStatus): void {
    const before = this.peers.get(key)
    const now = sharedPeer(before, read)
    if (before?.allowedIps !== now.allowedIps) this.#holders = undefined
    if (before && differsByTrafficAlone(before, now)) this.peers.revise(key, now)
    else this.peers.set(key, now)
  }

  /** Has peers keep the same sets of prefixes, and the same endpoints, as they are desired with: nothing of them is kept twice. */
  shareWith(desired: ReadonlyMap<PublicKey, DesiredPeer>, keys: Iterable<PublicKey>): void {
    for (const key of keys) {
      const [want, have] = [desired.get(key), this.peers.get(key)]
      if (!want || !have || want.allowedIps === have.allowedIps || !sameSet(want.allowedIps, have.allowedIps)) continue
      const endpoint = sameEndpoint(want.endpoint, have.endpoint) ? want.endpoint : have.endpoint
      this.peers.revise(key, { ...have, allowedIps: want.allowedIps, endpoint })
    }
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
    this.#holders ??= this.#findHolders()
    const holders = this.#holders
    if (change.kind === 'remove') {
      for (const cidr of this.peers.get(publicKey)?.allowedIps ?? []) holders.delete(cidr)
      this.peers.delete(publicKey)
      this.writtenEndpoints.delete(publicKey)
      return
    }
    const added = new Set(change.addAllowedIps)
    const losers = new Set([...added].map(cidr => holders.get(cidr)))
    for (const key of losers) {
      const peer = key === undefined || key === publicKey ? undefined : this.peers.get(key)
      if (peer) this.peers.set(peer.publicKey, { ...peer, allowedIps: peer.allowedIps.difference(added) })
    }
    for (const cidr of added) holders.set(cidr, publicKey)
    for (const cidr of change.removeAllowedIps ?? []) if (holders.get(cidr) === publicKey) holders.delete(cidr)
    const peer = this.peers.get(publicKey) ?? untouchedPeer(publicKey)
    const allowedIps = new Set<Cidr>()
    const removed = new Set(change.removeAllowedIps)
    // One by one: a Set that is made of another, or by union(), keeps half as much room again.
    for (const cidr of [...peer.allowedIps, ...added]) if (!removed.has(cidr)) allowedIps.add(cidr)
    if (change.endpoint) this.writtenEndpoints.set(publicKey, change.endpoint)
    this.peers.set(publicKey, {
      ...peer,
      allowedIps,
      endpoint: change.endpoint ?? peer.endpoint,
      persistentKeepalive: change.persistentKeepalive ?? peer.persistentKeepalive,
    })
  }

  #findHolders(): Map<Cidr, PublicKey> {
    const holders = new Map<Cidr, PublicKey>()
    for (const [key, { allowedIps }] of this.peers) for (const cidr of allowedIps) holders.set(cidr, key)
    return holders
  }
}

const NO_PEERS: DeviceStatus['peers'] = new Map()

/** As they were read they would be kept beside the ones that they are the same as. */
const withoutPeers = ({ peers: _, ...status }: DeviceStatus): Omit<DeviceStatus, 'peers'> => status
