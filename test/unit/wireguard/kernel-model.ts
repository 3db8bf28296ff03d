import { constants } from 'node:os'
import { PrivateKey } from '#keys/private-key.ts'
import { publicKeyBytes, unverifiedPublicKey } from '#keys/public-key.ts'
import type { Links } from '#wg/device/links.ts'
import { genlMessage } from '#wg/genetlink/controller.ts'
import { type Cidr, cidrBytes, cidrFromBytes, familyOf, prefixLength } from '#wg/ip.ts'
import { decodeSockaddr, encodeSockaddr } from '#wg/native/sockaddr.ts'
import { type Attribute, AttributeWriter, readAttributes } from '#wg/netlink/attributes.ts'
import type { Connection } from '#wg/netlink/connection.ts'
import { NetlinkError } from '#wg/netlink/errors.ts'
import type { NetlinkMessage, NetlinkRequest } from '#wg/netlink/message.ts'
import * as wg from '#wg/wireguard/constants.ts'
import { ModelDevice, type ModelPeer } from './model.ts'

const { EINVAL, ENODEV, EOPNOTSUPP, EEXIST } = constants.errno

export interface KernelModelOptions {
  /** Linux 6.16. */
  readonly knowsRemoveFlag?: boolean
  /** Bytes of peers in a message of a dump. */
  readonly dumpBytes?: number
}

/**
 * As much of the kernel's `wireguard` family and of its links as devices meet, written from drivers/net/wireguard/netlink.c's
 * documented behaviour: strict attributes, moves, update-only, dumps in pieces.
 */
export class KernelModel implements Pick<Connection, 'request' | 'dump'>, Links {
  readonly family = { id: 0x21, version: wg.WG_GENL_VERSION }
  readonly devices = new Map<string, ModelDevice>()
  /** Links that are something else. */
  readonly otherLinks = new Map<string, string>()
  /** Every WG_CMD_SET_DEVICE that arrived. */
  readonly requests: NetlinkRequest[] = []
  readonly #knowsRemoveFlag: boolean
  readonly #dumpBytes: number

  constructor({ knowsRemoveFlag = true, dumpBytes = 3_500 }: KernelModelOptions = {}) {
    this.#knowsRemoveFlag = knowsRemoveFlag
    this.#dumpBytes = dumpBytes
  }

  async link(name: string): ReturnType<Links['link']> {
    const kind = this.devices.has(name) ? 'wireguard' : this.otherLinks.get(name)
    if (kind === undefined) return undefined
    const index = [...this.devices.keys(), ...this.otherLinks.keys()].indexOf(name) + 1
    return { index, name, kind, mtu: 1420, up: false, lowerUp: false, operState: 'down' }
  }

  async createLink(name: string): ReturnType<Links['createLink']> {
    if (await this.link(name)) throw new NetlinkError(`create link ${name}`, EEXIST)
    this.devices.set(name, new ModelDevice())
    const link = await this.link(name)
    if (!link) throw new Error('not created')
    return link
  }

  async setLink(index: number): Promise<void> {
    this.#nameOf(index, 'set')
  }

  async deleteLink(index: number): Promise<void> {
    this.devices.delete(this.#nameOf(index, 'delete'))
  }

  async request(request: NetlinkRequest, operation: string): Promise<void> {
    this.requests.push(request)
    checkNestedFlags(request.payload.subarray(4), DEVICE_SHAPE)
    const attributes = this.#header(request, wg.WG_CMD_SET_DEVICE)
    const device = this.#device(attributes, operation)
    for (const attribute of attributes) this.#setAttribute(device, attribute, operation)
  }

  async dump(request: NetlinkRequest, operation: string): Promise<NetlinkMessage[]> {
    const attributes = this.#header(request, wg.WG_CMD_GET_DEVICE)
    const device = this.#device(attributes, operation)
    const name = attributes[0]?.string() ?? ''
    const reply = (attributes: Uint8Array): NetlinkMessage => ({
      ...genlMessage(this.family, wg.WG_CMD_GET_DEVICE, attributes),
      sequence: 1,
      port: 0,
    })
    return dumpDevice(name, device, this.#dumpBytes).map(reply)
  }

  #nameOf(index: number, operation: string): string {
    const name = [...this.devices.keys()][index - 1]
    if (name === undefined) throw new NetlinkError(`${operation} link ${index}`, ENODEV)
    return name
  }

  #header({ type, payload }: NetlinkRequest, command: number): Attribute[] {
    if (type !== this.family.id || payload[0] !== command || payload[1] !== wg.WG_GENL_VERSION)
      throw new NetlinkError('genetlink', EOPNOTSUPP)
    return readAttributes(payload.subarray(4))
  }

  #device(attributes: readonly Attribute[], operation: string): ModelDevice {
    const name = attributes.find(({ type }) => type === wg.WGDEVICE_A_IFNAME)?.string() ?? ''
    if (this.otherLinks.has(name)) throw new NetlinkError(operation, EOPNOTSUPP)
    const device = this.devices.get(name)
    if (!device) throw new NetlinkError(operation, ENODEV)
    return device
  }

  #setAttribute(device: ModelDevice, attribute: Attribute, operation: string): void {
    switch (attribute.type) {
      case wg.WGDEVICE_A_IFNAME:
        break
      case wg.WGDEVICE_A_PRIVATE_KEY:
        device.setPrivateKey(PrivateKey.fromBytes(attribute.exactly(32)))
        break
      case wg.WGDEVICE_A_LISTEN_PORT:
        device.listenPort = attribute.u16()
        break
      case wg.WGDEVICE_A_FWMARK:
        device.fwmark = attribute.u32()
        break
      case wg.WGDEVICE_A_PEERS:
        for (const peer of attribute.nested()) this.#setPeer(device, peer.nested(), operation)
        break
      default:
        // WGDEVICE_A_FLAGS is among these: Podveil has no business with WGDEVICE_F_REPLACE_PEERS.
        throw new NetlinkError(operation, EINVAL, { attribute: attribute.type })
    }
  }

  #setPeer(device: ModelDevice, attributes: readonly Attribute[], operation: string): void {
    const find = (wanted: number) => attributes.find(({ type }) => type === wanted)
    const publicKey = unverifiedPublicKey(find(wg.WGPEER_A_PUBLIC_KEY)?.exactly(32) ?? new Uint8Array(0))
    const flags = find(wg.WGPEER_A_FLAGS)?.u32() ?? 0
    if (flags & ~(wg.WGPEER_F_REMOVE_ME | wg.WGPEER_F_UPDATE_ONLY)) throw new NetlinkError(operation, EOPNOTSUPP)
    if (flags & wg.WGPEER_F_REMOVE_ME) {
      device.peers.delete(publicKey)
      return
    }
    const peer = device.peer(publicKey, (flags & wg.WGPEER_F_UPDATE_ONLY) !== 0)
    if (!peer) return
    const endpoint = find(wg.WGPEER_A_ENDPOINT)
    if (endpoint) peer.endpoint = decodeSockaddr(endpoint.payload)
    for (const prefix of find(wg.WGPEER_A_ALLOWEDIPS)?.nested() ?? [])
      this.#setPrefix(device, peer, prefix.nested(), operation)
    peer.persistentKeepalive = find(wg.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL)?.u16() ?? peer.persistentKeepalive
  }

  #setPrefix(device: ModelDevice, peer: ModelPeer, attributes: readonly Attribute[], operation: string): void {
    const find = (wanted: number) => attributes.find(({ type }) => type === wanted)
    const last = this.#knowsRemoveFlag ? wg.WGALLOWEDIP_A_FLAGS : wg.WGALLOWEDIP_A_CIDR_MASK
    if (attributes.some(({ type }) => type > last)) throw new NetlinkError(operation, EINVAL)
    const bytes = find(wg.WGALLOWEDIP_A_FAMILY)?.u16() === 2 ? 4 : 16
    const address = find(wg.WGALLOWEDIP_A_IPADDR)?.exactly(bytes) ?? new Uint8Array(0)
    const cidr = cidrFromBytes(address, find(wg.WGALLOWEDIP_A_CIDR_MASK)?.u8() ?? -1)
    if (find(wg.WGALLOWEDIP_A_FLAGS)?.u32() === wg.WGALLOWEDIP_F_REMOVE_ME) peer.allowedIps.delete(cidr)
    else device.give(cidr, peer)
  }
}

type Shape = { readonly [type: number]: Shape } | 'list of prefixes' | 'list of peers'
const PREFIX_SHAPE: Shape = {}
const PEER_SHAPE: Shape = { [wg.WGPEER_A_ALLOWEDIPS]: 'list of prefixes' }
const DEVICE_SHAPE: Shape = { [wg.WGDEVICE_A_PEERS]: 'list of peers' }

/** Strict families refuse a nest without NLA_F_NESTED; the flag is read from the raw bytes here. */
function checkNestedFlags(payload: Uint8Array, shape: Exclude<Shape, string>): void {
  for (const [type, flagged, inner] of rawAttributes(payload)) {
    const nest = shape[type]
    if (!nest) continue
    const entry = nest === 'list of peers' ? PEER_SHAPE : PREFIX_SHAPE
    if (!flagged) throw new NetlinkError('validate', EINVAL, { message: 'NLA_F_NESTED is missing' })
    for (const [, entryFlagged, fields] of rawAttributes(inner)) {
      if (!entryFlagged) throw new NetlinkError('validate', EINVAL, { message: 'NLA_F_NESTED is missing' })
      checkNestedFlags(fields, entry)
    }
  }
}

function* rawAttributes(payload: Uint8Array): Generator<[type: number, flagged: boolean, inner: Uint8Array]> {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length)
  for (let at = 0; at + 4 <= payload.length; ) {
    const length = view.getUint16(at, true)
    const type = view.getUint16(at + 2, true)
    yield [type & 0x3fff, (type & 0x8000) !== 0, payload.subarray(at + 4, at + length)]
    at += (length + 3) & ~3
  }
}

/** The kernel's dump: the device's own attributes once, then peers, cut wherever a message is full. */
export function dumpDevice(name: string, device: ModelDevice, dumpBytes: number): Uint8Array[] {
  const messages: Uint8Array[] = []
  let writer = new AttributeWriter().u16(wg.WGDEVICE_A_LISTEN_PORT, device.listenPort)
  writer.u32(wg.WGDEVICE_A_FWMARK, device.fwmark).u32(1, 7).string(wg.WGDEVICE_A_IFNAME, name)
  if (device.privateKey)
    writer
      .binary(wg.WGDEVICE_A_PRIVATE_KEY, device.privateKey.reveal())
      .binary(wg.WGDEVICE_A_PUBLIC_KEY, publicKeyBytes(device.privateKey.publicKey()))
  let list = writer.open(wg.WGDEVICE_A_PEERS)
  const isFull = () => writer.length > dumpBytes
  const next = () => {
    writer.close(list)
    messages.push(writer.bytes())
    writer = new AttributeWriter()
    list = writer.open(wg.WGDEVICE_A_PEERS)
  }
  for (const [publicKey, peer] of device.peers) {
    if (isFull()) next()
    const prefixes = [...peer.allowedIps]
    for (let first = true; first || prefixes.length > 0; first = false) {
      if (!first) next()
      const nest = writer.open(0)
      writer.binary(wg.WGPEER_A_PUBLIC_KEY, publicKeyBytes(publicKey))
      if (first) writePeer(writer, peer)
      const addresses = writer.open(wg.WGPEER_A_ALLOWEDIPS)
      while (prefixes.length > 0 && !isFull()) writePrefix(writer, prefixes.shift() as Cidr)
      writer.close(addresses)
      writer.close(nest)
    }
  }
  next()
  return messages
}

function writePeer(writer: AttributeWriter, { endpoint, persistentKeepalive }: ModelPeer): void {
  writer
    .binary(2, new Uint8Array(32))
    .binary(wg.WGPEER_A_LAST_HANDSHAKE_TIME, new Uint8Array(16))
    .u16(wg.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, persistentKeepalive)
    .binary(wg.WGPEER_A_TX_BYTES, new Uint8Array(8))
    .binary(wg.WGPEER_A_RX_BYTES, new Uint8Array(8))
    .u32(10, 1)
  if (endpoint) writer.binary(wg.WGPEER_A_ENDPOINT, encodeSockaddr(endpoint))
}

function writePrefix(writer: AttributeWriter, cidr: Cidr): void {
  writer.nested(0, () => {
    writer
      .u8(wg.WGALLOWEDIP_A_CIDR_MASK, prefixLength(cidr))
      .u16(wg.WGALLOWEDIP_A_FAMILY, familyOf(cidr) === 4 ? 2 : 10)
      .binary(wg.WGALLOWEDIP_A_IPADDR, cidrBytes(cidr))
  })
}
