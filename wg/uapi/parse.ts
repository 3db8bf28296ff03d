import { PrivateKey } from '#keys/private-key.ts'
import { type PublicKey, publicKeyBytes, unverifiedPublicKey } from '#keys/public-key.ts'
import { type DeviceStatus, type PeerStatus, type SomePeers, untouchedPeer } from '../device/device.ts'
import { NO_PEERS, PeerReader, type Peers, type PeersReading } from '../device/peer-reader.ts'
import { type Cidr, type Endpoint, formatEndpoint, IpFormatError, parseEndpoint, parseExactCidr } from '../ip.ts'
import { sameSet } from '../same-set.ts'
import { PEER } from './answer.ts'
import { UapiFormatError } from './errors.ts'

const NANOSECONDS = 1_000_000_000n
/** The longest line there is has a key: 78 characters. */
const MAX_LINE = 256
const KEY = /^[a-z0-9_]{1,64}$/

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] }
type PeerDraft = Mutable<PeerStatus> & { readonly allowedIps: Set<Cidr> }

/** Whatever an answer is taken in by, a section at a time. @throws UapiFormatError */
export interface Reading {
  take(section: string): void
}

/** The device that the answer to `get=1` describes. Keys that are not known are passed over: later versions add some. */
export class DeviceReading implements Reading {
  readonly #device: Mutable<DeviceStatus>
  readonly #peers: PeersReading<string>

  /**
   * @param reader of this device
   * @param known its peers, as they are known otherwise
   */
  constructor(name: string, reader = new PeerReader(), known: Peers = NO_PEERS) {
    this.#device = { ...UNSET, name }
    this.#peers = reader.begin(parsePeer, known)
  }

  take(section: string): void {
    if (section.startsWith(PEER)) this.#peers.take(section)
    else eachLine(section, 0, (key, value) => readDeviceLine(this.#device, key, value))
  }

  get device(): DeviceStatus {
    return { ...this.#device, peers: this.#peers.end() }
  }
}

/** Some peers of the same answer. */
export class SomePeersReading implements Reading {
  readonly #wanted: ReadonlySet<string>
  readonly #peers = new Map<PublicKey, PeerStatus>()
  #total = 0

  constructor(keys: ReadonlySet<PublicKey>) {
    this.#wanted = new Set(Array.from(keys, key => Buffer.from(publicKeyBytes(key)).toString('hex')))
  }

  take(section: string): void {
    if (!section.startsWith(PEER)) return
    this.#total++
    if (!this.#wanted.has(section.slice(PEER.length, section.indexOf('\n')).toLowerCase())) return
    const peer = parsePeer(section, this.#peers, NO_PEERS)
    this.#peers.set(peer.publicKey, peer)
  }

  get some(): SomePeers {
    return { total: this.#total, peers: this.#peers }
  }
}

const UNSET = { publicKey: undefined, privateKey: undefined, listenPort: 0, fwmark: 0, peers: NO_PEERS }

function parsePeer(text: string, before: Peers, lastly: Peers): PeerStatus {
  const end = text.indexOf('\n')
  const publicKey = unverifiedPublicKey(keyBytes('public_key', text.slice(PEER.length, end)))
  const known = before.get(publicKey)
  const peer: PeerDraft = { ...(known ?? untouchedPeer(publicKey)), allowedIps: new Set(known?.allowedIps) }
  const last = lastly.get(publicKey)
  eachLine(text, end + 1, (key, value) => {
    const field = PEER_FIELDS.get(key)
    field?.(peer, value, last)
    return field !== undefined
  })
  const { allowedIps } = peer
  if (last && sameSet(last.allowedIps, allowedIps)) return { ...peer, allowedIps: last.allowedIps }
  // Some may be parts of the answer, which would be kept for them.
  return last ? { ...peer, allowedIps: new Set(Array.from(allowedIps, allowedIp)) } : peer
}

/**
 * In place: of thousands of peers there are ten times as many lines.
 * @param text lines, each with its end
 * @param take says whether it knows the key; others are passed over, where they are keys
 */
function eachLine(text: string, from: number, take: (key: string, value: string) => boolean): void {
  for (let start = from; start < text.length; ) {
    const end = text.indexOf('\n', start)
    const equals = text.indexOf('=', start)
    if (equals < start || equals > end || end - start > MAX_LINE) throw new UapiFormatError('a line is not key=value')
    const key = text.slice(start, equals)
    if (!take(key, text.slice(equals + 1, end))) checkOtherKey(key)
    start = end + 1
  }
}

function checkOtherKey(key: string): void {
  if (!KEY.test(key)) throw new UapiFormatError('a line is not key=value')
  if (key === 'errno') throw new UapiFormatError('there is an errno within the answer')
}

/** @returns whether it knows the key */
function readDeviceLine(device: Mutable<DeviceStatus>, key: string, value: string): boolean {
  switch (key) {
    case 'private_key': {
      const bytes = keyBytes(key, value)
      if (bytes.every(byte => byte === 0)) return true
      device.privateKey = PrivateKey.fromBytes(bytes)
      device.publicKey = device.privateKey.publicKey()
      bytes.fill(0)
      return true
    }
    case 'listen_port':
      device.listenPort = integer(key, value, 0xffff)
      return true
    case 'fwmark':
      device.fwmark = integer(key, value, 0xffff_ffff)
      return true
    default:
      return false
  }
}

type PeerField = (peer: PeerDraft, value: string, last: PeerStatus | undefined) => void

/** What a line says of a peer, by its key. What it said the last time is taken over, as most often it says the same. */
const PEER_FIELDS: ReadonlyMap<string, PeerField> = new Map<string, PeerField>([
  // Set by nobody here, and nobody's business.
  ['preshared_key', () => {}],
  ['protocol_version', () => {}],
  [
    'endpoint',
    (peer, value, last) => {
      const same = last?.endpoint !== undefined && formatEndpoint(last.endpoint) === value
      peer.endpoint = same ? last.endpoint : endpoint(value)
    },
  ],
  [
    'allowed_ip',
    (peer, value, last) => {
      peer.allowedIps.add(last?.allowedIps.has(value as Cidr) ? (value as Cidr) : allowedIp(value))
    },
  ],
  [
    'persistent_keepalive_interval',
    (peer, value) => {
      peer.persistentKeepalive = integer('persistent_keepalive_interval', value, 0xffff)
    },
  ],
  // The two lines come in this order, and add up.
  [
    'last_handshake_time_sec',
    (peer, value) => {
      peer.latestHandshake = counter('last_handshake_time_sec', value) * NANOSECONDS
    },
  ],
  [
    'last_handshake_time_nsec',
    (peer, value) => {
      peer.latestHandshake += counter('last_handshake_time_nsec', value)
    },
  ],
  [
    'rx_bytes',
    (peer, value) => {
      peer.rxBytes = counter('rx_bytes', value)
    },
  ],
  [
    'tx_bytes',
    (peer, value) => {
      peer.txBytes = counter('tx_bytes', value)
    },
  ],
])

function keyBytes(key: string, value: string): Uint8Array {
  if (!/^[0-9a-fA-F]{64}$/.test(value)) throw new UapiFormatError(`${key} is not 64 hexadecimal digits`)
  // Not of Node.js' pool, where a copy of a private key would stay.
  const bytes = Buffer.alloc(32)
  bytes.write(value, 'hex')
  return bytes
}

function integer(key: string, value: string, max: number): number {
  const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN
  if (!(number <= max)) throw new UapiFormatError(`${key} is not a number of 0 to ${max}`)
  return number
}

/** Unsigned 64 bits. */
function counter(key: string, value: string): bigint {
  if (/^\d{1,19}$/.test(value)) return BigInt(value)
  const number = /^\d{20}$/.test(value) ? BigInt(value) : -1n
  if (number < 0n || number > MAX_COUNTER) throw new UapiFormatError(`${key} is not an unsigned 64-bit number`)
  return number
}

const MAX_COUNTER = (1n << 64n) - 1n

/** A link-local endpoint has a zone, which is the receiving device's business; port 0 can be configured and means nothing. */
function endpoint(value: string): Endpoint | undefined {
  if (value.endsWith(':0')) return undefined
  return formatted('endpoint', () => parseEndpoint(value.replace(/%[^\]]*\]/, ']')))
}

function allowedIp(value: string): Cidr {
  return formatted('allowed_ip', () => parseExactCidr(value))
}

function formatted<Result>(key: string, parse: () => Result): Result {
  try {
    return parse()
  } catch (error) {
    if (error instanceof IpFormatError) throw new UapiFormatError(`${key} is ${error.message}`)
    throw error
  }
}
