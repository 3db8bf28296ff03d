import { publicKeyBytes } from '#keys/public-key.ts'
import type { DeviceChange, PeerChange } from '../device/device.ts'
import { type GenericFamily, genlMessage } from '../genetlink/controller.ts'
import { addressFamily, type Cidr, cidrBytes, familyOf, prefixLength } from '../ip.ts'
import { encodeSockaddr } from '../native/sockaddr.ts'
import { AttributeWriter } from '../netlink/attributes.ts'
import type { NetlinkRequest } from '../netlink/message.ts'
import * as wg from './constants.ts'

/** What the codec needs of the family. */
export type WireGuardFamily = Pick<GenericFamily, 'id' | 'version'>

/**
 * Largest payload of a message, in bytes. A nest may have 65,535; half of that is some 300 peers, and the event loop gets
 * a turn between two of them (the kernel does the work within the send).
 */
const MAX_PAYLOAD = 32_768

const MIN_PAYLOAD = 512

/**
 * Peers removed by one message. The kernel waits for a grace period for each, under RTNL and within the send: a hundred
 * peers take some 0.1 s.
 */
const MAX_REMOVALS = 64

type SetPeer = Extract<PeerChange, { kind: 'set' }>

export function encodeGetDevice(family: WireGuardFamily, name: string): NetlinkRequest {
  return genlMessage(family, wg.WG_CMD_GET_DEVICE, new AttributeWriter().string(wg.WGDEVICE_A_IFNAME, name).bytes())
}

/**
 * A change as messages, to be sent in order, each after the other was acknowledged. Device attributes are in the first
 * one only: repeating fwmark would make the kernel forget the source address of every peer. A peer that does not fit
 * goes on in the next message with its key, its flags and the rest of its prefixes; its keepalive comes with the last of
 * them, because it sends a packet at once. WGDEVICE_F_REPLACE_PEERS and WGPEER_F_REPLACE_ALLOWEDIPS are never used.
 * @param maxPayload bytes of attributes, at least 512
 * @returns no message for a change of nothing
 */
export function encodeSetDevice(
  family: WireGuardFamily,
  name: string,
  change: DeviceChange,
  maxPayload = MAX_PAYLOAD,
): NetlinkRequest[] {
  const { privateKey, listenPort, fwmark, peers = [] } = change
  const messages = new MessageSplitter(family, name, maxPayload)
  const { writer } = messages
  if (privateKey !== undefined) writer.binary(wg.WGDEVICE_A_PRIVATE_KEY, privateKey.reveal())
  if (listenPort !== undefined) writer.u16(wg.WGDEVICE_A_LISTEN_PORT, listenPort)
  if (fwmark !== undefined) writer.u32(wg.WGDEVICE_A_FWMARK, fwmark)
  for (const peer of peers) {
    if (peer.kind === 'remove') writeRemoval(messages, peer)
    else writePeer(messages, peer)
  }
  return messages.finish()
}

function writeRemoval(messages: MessageSplitter, { publicKey }: PeerChange): void {
  messages.countRemoval()
  messages.entry(0, writer => {
    writer.binary(wg.WGPEER_A_PUBLIC_KEY, publicKeyBytes(publicKey)).u32(wg.WGPEER_A_FLAGS, wg.WGPEER_F_REMOVE_ME)
  })
}

function writePeer(messages: MessageSplitter, peer: SetPeer): void {
  const prefixes: [Cidr, remove: boolean][] = [
    ...(peer.removeAllowedIps ?? []).map((cidr): [Cidr, boolean] => [cidr, true]),
    ...(peer.addAllowedIps ?? []).map((cidr): [Cidr, boolean] => [cidr, false]),
  ]
  let next = 0
  do {
    const first = next === 0
    messages.entry(PEER_ROOM, (writer, room) => {
      writer.binary(wg.WGPEER_A_PUBLIC_KEY, publicKeyBytes(peer.publicKey))
      if (peer.updateOnly) writer.u32(wg.WGPEER_A_FLAGS, wg.WGPEER_F_UPDATE_ONLY)
      if (first && peer.endpoint) writer.binary(wg.WGPEER_A_ENDPOINT, encodeSockaddr(peer.endpoint))
      if (next < prefixes.length) next = writePrefixes(writer, prefixes, next, room)
      if (next === prefixes.length && peer.persistentKeepalive !== undefined)
        writer.u16(wg.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, peer.persistentKeepalive)
    })
  } while (next < prefixes.length)
}

/** What a peer needs besides its prefixes (120 bytes at most) and for a few of them; less than that is not worth starting. */
const PEER_ROOM = 320
/** Nest, family, IPv6 address, mask and flags. */
const PREFIX_ROOM = 48
/** Keepalive, which may follow the prefixes. */
const AFTER_PREFIXES = 8

/** @returns the first prefix that did not fit */
function writePrefixes(
  writer: AttributeWriter,
  prefixes: readonly (readonly [Cidr, boolean])[],
  from: number,
  room: () => number,
): number {
  const list = writer.open(wg.WGPEER_A_ALLOWEDIPS)
  let next = from
  for (; room() >= PREFIX_ROOM + AFTER_PREFIXES; next++) {
    const entry = prefixes[next]
    if (!entry) break
    const [cidr, remove] = entry
    writer.nested(0, () => {
      writer
        .u16(wg.WGALLOWEDIP_A_FAMILY, addressFamily(familyOf(cidr)))
        .binary(wg.WGALLOWEDIP_A_IPADDR, cidrBytes(cidr))
        .u8(wg.WGALLOWEDIP_A_CIDR_MASK, prefixLength(cidr))
      if (remove) writer.u32(wg.WGALLOWEDIP_A_FLAGS, wg.WGALLOWEDIP_F_REMOVE_ME)
    })
  }
  writer.close(list)
  return next
}

/** Starts a message, with the device's name alone, whenever the one before is full. */
class MessageSplitter {
  readonly #family: WireGuardFamily
  readonly #name: string
  readonly #maxPayload: number
  readonly #done: NetlinkRequest[] = []
  #writer: AttributeWriter
  /** Length of a message that says nothing but the name. */
  readonly #emptyLength: number
  #peers: number | undefined
  #removals = 0

  constructor(family: WireGuardFamily, name: string, maxPayload: number) {
    if (maxPayload < MIN_PAYLOAD) throw new RangeError(`messages of ${maxPayload} bytes are too short`)
    this.#family = family
    this.#name = name
    this.#maxPayload = maxPayload
    this.#writer = this.#start()
    this.#emptyLength = this.#writer.length
  }

  /** For the device's attributes, before the first peer. */
  get writer(): AttributeWriter {
    return this.#writer
  }

  countRemoval(): void {
    if (this.#removals === MAX_REMOVALS) this.#flush()
    this.#removals++
  }

  /** Writes one peer's nest, in this message when it has room for `atLeast` bytes more, else in the next. */
  entry(atLeast: number, write: (writer: AttributeWriter, room: () => number) => void): void {
    if (this.#peers !== undefined && this.#room() < Math.max(atLeast, MIN_ENTRY)) this.#flush()
    this.#peers ??= this.#writer.open(wg.WGDEVICE_A_PEERS)
    const writer = this.#writer
    writer.nested(0, () => write(writer, () => this.#room()))
  }

  finish(): NetlinkRequest[] {
    if (this.#writer.length > this.#emptyLength) this.#flush()
    return this.#done
  }

  #room(): number {
    return this.#maxPayload - this.#writer.length
  }

  #start(): AttributeWriter {
    return new AttributeWriter(4_096).string(wg.WGDEVICE_A_IFNAME, this.#name)
  }

  #flush(): void {
    if (this.#peers !== undefined) this.#writer.close(this.#peers)
    this.#done.push(genlMessage(this.#family, wg.WG_CMD_SET_DEVICE, this.#writer.bytes()))
    this.#writer = this.#start()
    this.#peers = undefined
    this.#removals = 0
  }
}

/** Nest, key and flags. */
const MIN_ENTRY = 48
