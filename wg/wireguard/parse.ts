import { KeyFormatError } from '#keys/errors.ts'
import { PrivateKey } from '#keys/private-key.ts'
import { type PublicKey, publicKeyBytes, unverifiedPublicKey } from '#keys/public-key.ts'
import { type DeviceStatus, type PeerStatus, type SomePeers, untouchedPeer } from '../device/device.ts'
import { NO_PEERS, PeerReader, type Peers } from '../device/peer-reader.ts'
import { parseGenlMessage } from '../genetlink/controller.ts'
import { addressFamily, type Cidr, cidrFromBytes, type Endpoint, type Family } from '../ip.ts'
import { decodeSockaddr } from '../native/sockaddr.ts'
import { type Attribute, readAttributes } from '../netlink/attributes.ts'
import { NetlinkFormatError } from '../netlink/errors.ts'
import type { NetlinkMessage } from '../netlink/message.ts'
import { AT_A_TIME } from '../slices.ts'
import * as wg from './constants.ts'

const NANOSECONDS = 1_000_000_000n

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] }
type PeerDraft = Mutable<PeerStatus> & { readonly allowedIps: Set<Cidr> }

/**
 * The device that the messages of a WG_CMD_GET_DEVICE dump describe, in steps. The kernel splits long dumps,
 * also within a peer: what follows repeats the key and goes on with the prefixes.
 * @param reader of this device
 * @param known its peers, as they are known otherwise
 * @throws NetlinkFormatError
 */
export function* parseDevice(
  messages: readonly Pick<NetlinkMessage, 'payload'>[],
  reader = new PeerReader(),
  known: Peers = NO_PEERS,
): Generator<undefined, DeviceStatus> {
  const device: Mutable<DeviceStatus> = {
    name: '',
    publicKey: undefined,
    privateKey: undefined,
    listenPort: 0,
    fwmark: 0,
    peers: NO_PEERS,
  }
  device.peers = yield* reader.read(
    peersOf(messages, attribute => readDeviceAttribute(device, attribute)),
    parsePeer,
    known,
  )
  if (device.name === '') throw new NetlinkFormatError('device without a name')
  return device
}

/**
 * Some peers of the same dump, in steps.
 * @throws NetlinkFormatError
 */
export function* parseSomePeers(
  messages: readonly Pick<NetlinkMessage, 'payload'>[],
  keys: ReadonlySet<PublicKey>,
): Generator<undefined, SomePeers> {
  const wanted = new Set(Array.from(keys, key => tagOf(publicKeyBytes(key), 0)))
  const peers = new Map<PublicKey, PeerStatus>()
  let total = 0
  let read = 0
  let last: number | undefined
  for (const payload of peersOf(messages, () => {})) {
    if (++read % AT_A_TIME === 0) yield
    // The kernel puts the key first, and goes on with the same peer at the beginning of the next message.
    const tag = tagOf(payload, ATTRIBUTE_HEADER)
    if (tag !== last) total++
    last = tag
    if (!wanted.has(tag)) continue
    const peer = parsePeer(payload, peers)
    if (keys.has(peer.publicKey)) peers.set(peer.publicKey, peer)
  }
  return { total, peers }
}

const ATTRIBUTE_HEADER = 4

/** The first bytes of a key, as a number: the other 28 are compared only where these are the same. */
const tagOf = (bytes: Uint8Array, at: number): number =>
  (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)

/** What each peer is said to be, and meanwhile what is said of the device itself. */
function* peersOf(
  messages: readonly Pick<NetlinkMessage, 'payload'>[],
  takeOther: (attribute: Attribute) => void,
): Generator<Uint8Array> {
  for (const { payload } of messages) {
    const { command, attributes } = parseGenlMessage(payload)
    if (command !== wg.WG_CMD_GET_DEVICE) throw new NetlinkFormatError(`WireGuard command ${command} in a dump`)
    for (const attribute of attributes) {
      if (attribute.type === wg.WGDEVICE_A_PEERS) for (const peer of attribute.nested()) yield peer.payload
      else takeOther(attribute)
    }
  }
}

function readDeviceAttribute(device: Mutable<DeviceStatus>, attribute: Attribute): void {
  switch (attribute.type) {
    case wg.WGDEVICE_A_IFNAME:
      device.name = attribute.string()
      break
    case wg.WGDEVICE_A_PRIVATE_KEY:
      device.privateKey = isZero(attribute.payload) ? undefined : PrivateKey.fromBytes(attribute.exactly(32))
      break
    case wg.WGDEVICE_A_PUBLIC_KEY:
      device.publicKey = isZero(attribute.payload) ? undefined : readPublicKey(attribute)
      break
    case wg.WGDEVICE_A_LISTEN_PORT:
      device.listenPort = attribute.u16()
      break
    case wg.WGDEVICE_A_FWMARK:
      device.fwmark = attribute.u32()
      break
  }
}

function parsePeer(payload: Uint8Array, before: Peers): PeerStatus {
  const attributes = readAttributes(payload)
  const key = attributes.find(({ type }) => type === wg.WGPEER_A_PUBLIC_KEY)
  if (!key) throw new NetlinkFormatError('peer without a public key')
  const publicKey = readPublicKey(key)
  const peer = draftOf(before.get(publicKey) ?? untouchedPeer(publicKey))
  for (const attribute of attributes) readPeerAttribute(peer, attribute)
  return peer
}

const draftOf = (peer: PeerStatus): PeerDraft => ({ ...peer, allowedIps: new Set(peer.allowedIps) })

function readPeerAttribute(peer: PeerDraft, attribute: Attribute): void {
  switch (attribute.type) {
    case wg.WGPEER_A_ENDPOINT:
      peer.endpoint = readEndpoint(attribute)
      break
    case wg.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
      peer.persistentKeepalive = attribute.u16()
      break
    case wg.WGPEER_A_LAST_HANDSHAKE_TIME:
      peer.latestHandshake = readTimespec(attribute.payload)
      break
    case wg.WGPEER_A_RX_BYTES:
      peer.rxBytes = attribute.u64()
      break
    case wg.WGPEER_A_TX_BYTES:
      peer.txBytes = attribute.u64()
      break
    case wg.WGPEER_A_ALLOWEDIPS:
      for (const prefix of attribute.nested()) peer.allowedIps.add(readPrefix(prefix.nested()))
      break
  }
}

/** The kernel has no prefix for a family of its own choosing: lengths and family must agree. */
function readPrefix(attributes: readonly Attribute[]): Cidr {
  const find = (wanted: number) => attributes.find(({ type }) => type === wanted)
  const address = find(wg.WGALLOWEDIP_A_IPADDR)?.payload
  const length = find(wg.WGALLOWEDIP_A_CIDR_MASK)?.u8()
  const number = find(wg.WGALLOWEDIP_A_FAMILY)?.u16()
  const family = ([4, 6] satisfies Family[]).find(candidate => addressFamily(candidate) === number)
  const bytes = family === 4 ? 4 : 16
  if (!family || address?.length !== bytes || length === undefined || length > bytes * 8)
    throw new NetlinkFormatError(`allowed IP of family ${number}, ${address?.length} bytes, prefix length ${length}`)
  return cidrFromBytes(address, length)
}

/** Port 0 can be configured and means nothing: no endpoint. */
function readEndpoint({ payload }: Attribute): Endpoint | undefined {
  const endpoint = decodeSockaddr(payload)
  return endpoint && endpoint.port > 0 ? endpoint : undefined
}

/** struct __kernel_timespec, two 64-bit numbers; two of 32 bits come from 32-bit user space before Linux 5.6. */
function readTimespec(payload: Uint8Array): bigint {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length)
  if (payload.length === 16) return view.getBigInt64(0, true) * NANOSECONDS + view.getBigInt64(8, true)
  if (payload.length === 8) return BigInt(view.getInt32(0, true)) * NANOSECONDS + BigInt(view.getInt32(4, true))
  throw new NetlinkFormatError(`time of ${payload.length} bytes`)
}

function readPublicKey({ payload }: Attribute): PublicKey {
  try {
    return unverifiedPublicKey(payload)
  } catch (error) {
    if (error instanceof KeyFormatError) throw new NetlinkFormatError(error.message)
    throw error
  }
}

const isZero = (bytes: Uint8Array): boolean => bytes.every(byte => byte === 0)
