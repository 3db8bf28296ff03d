import type { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { DeviceChange, PeerChange } from '#wg/device/device.ts'
import type { Cidr, Endpoint } from '#wg/ip.ts'

export interface ModelPeer {
  endpoint: Endpoint | undefined
  persistentKeepalive: number
  allowedIps: Set<Cidr>
}

/** What WireGuard does with a change, in the plainest words: the meaning that both codecs must carry. */
export class ModelDevice {
  privateKey: PrivateKey | undefined
  listenPort = 0
  fwmark = 0
  readonly peers = new Map<PublicKey, ModelPeer>()

  apply({ privateKey, listenPort, fwmark, peers = [] }: DeviceChange): this {
    if (privateKey) this.setPrivateKey(privateKey)
    this.listenPort = listenPort ?? this.listenPort
    this.fwmark = fwmark ?? this.fwmark
    for (const peer of peers) this.applyPeer(peer)
    return this
  }

  /** A device is never its own peer. */
  setPrivateKey(privateKey: PrivateKey): void {
    this.privateKey = privateKey
    this.peers.delete(privateKey.publicKey())
  }

  applyPeer(change: PeerChange): void {
    if (change.kind === 'remove') {
      this.peers.delete(change.publicKey)
      return
    }
    const peer = this.peer(change.publicKey, change.updateOnly ?? false)
    if (!peer) return
    peer.endpoint = change.endpoint ?? peer.endpoint
    peer.persistentKeepalive = change.persistentKeepalive ?? peer.persistentKeepalive
    for (const cidr of change.removeAllowedIps ?? []) peer.allowedIps.delete(cidr)
    for (const cidr of change.addAllowedIps ?? []) this.give(cidr, peer)
  }

  peer(publicKey: PublicKey, updateOnly: boolean): ModelPeer | undefined {
    const known = this.peers.get(publicKey)
    if (known || updateOnly || publicKey === this.privateKey?.publicKey()) return known
    const peer: ModelPeer = { endpoint: undefined, persistentKeepalive: 0, allowedIps: new Set() }
    this.peers.set(publicKey, peer)
    return peer
  }

  /** A prefix has one owner: adding moves it. */
  give(cidr: Cidr, to: ModelPeer): void {
    for (const peer of this.peers.values()) peer.allowedIps.delete(cidr)
    to.allowedIps.add(cidr)
  }

  /** For comparison: plain data in an order that does not depend on how it came about. */
  picture() {
    return {
      privateKey: this.privateKey && Buffer.from(this.privateKey.reveal()).toString('base64'),
      listenPort: this.listenPort,
      fwmark: this.fwmark,
      peers: Array.from(this.peers, ([publicKey, peer]) => ({
        publicKey,
        ...peer,
        allowedIps: [...peer.allowedIps].sort(),
      })).sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1)),
    }
  }
}
