import { PrivateKey } from '#keys/private-key.ts'
import { type PublicKey, unverifiedPublicKey } from '#keys/public-key.ts'
import type { DeviceStatus, PeerStatus } from '../device/device.ts'
import { type Cidr, type Endpoint, IpFormatError, parseEndpoint, parseExactCidr } from '../ip.ts'
import { UapiFormatError } from './errors.ts'

const NANOSECONDS = 1_000_000_000n
/** The longest line there is has a key: 78 characters. */
const MAX_LINE = 256
const LINE = /^([a-z0-9_]{1,64})=(.*)$/

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] }
type PeerDraft = Mutable<PeerStatus> & { readonly allowedIps: Set<Cidr> }

type Line = readonly [key: string, value: string]

/** An answer's lines, without the `errno` that ends it. */
export interface UapiAnswer {
  /** Positive; 0 is success. */
  readonly errno: number
  readonly lines: readonly Line[]
}

/**
 * Splits an answer into its lines. It must end with `errno=…` and a blank line, and have no other blank line.
 * @throws UapiFormatError
 */
export function parseAnswer(text: string): UapiAnswer {
  if (!text.endsWith('\n\n')) throw new UapiFormatError('the answer does not end with a blank line')
  const lines = text.slice(0, -2).split('\n').map(parseLine)
  const [key, value = ''] = lines.pop() ?? []
  if (key !== 'errno' || lines.some(([other]) => other === 'errno'))
    throw new UapiFormatError('the answer does not end with the one errno')
  // wireguard-go writes negative numbers, others positive ones.
  return { errno: integer('errno', value.replace(/^-/, ''), 0xffff), lines }
}

/**
 * The device that the answer to `get=1` describes. Keys that are not known are passed over: later versions add some.
 * @throws UapiFormatError
 */
export function parseDevice(name: string, lines: readonly Line[]): DeviceStatus {
  const peers = new Map<PublicKey, PeerDraft>()
  const device: Mutable<DeviceStatus> = {
    name,
    publicKey: undefined,
    privateKey: undefined,
    listenPort: 0,
    fwmark: 0,
    peers,
  }
  let peer: PeerDraft | undefined
  for (const [key, value] of lines) {
    if (key === 'public_key') {
      const publicKey = unverifiedPublicKey(keyBytes(key, value))
      peer = peers.get(publicKey) ?? emptyPeer(publicKey)
      peers.set(publicKey, peer)
    } else if (peer) readPeerLine(peer, key, value)
    else readDeviceLine(device, key, value)
  }
  return device
}

function readDeviceLine(device: Mutable<DeviceStatus>, key: string, value: string): void {
  switch (key) {
    case 'private_key': {
      const bytes = keyBytes(key, value)
      if (bytes.every(byte => byte === 0)) break
      device.privateKey = PrivateKey.fromBytes(bytes)
      device.publicKey = device.privateKey.publicKey()
      bytes.fill(0)
      break
    }
    case 'listen_port':
      device.listenPort = integer(key, value, 0xffff)
      break
    case 'fwmark':
      device.fwmark = integer(key, value, 0xffff_ffff)
      break
  }
}

function readPeerLine(peer: PeerDraft, key: string, value: string): void {
  switch (key) {
    case 'endpoint':
      peer.endpoint = endpoint(value)
      break
    case 'allowed_ip':
      peer.allowedIps.add(allowedIp(value))
      break
    case 'persistent_keepalive_interval':
      peer.persistentKeepalive = integer(key, value, 0xffff)
      break
    // The two lines come in this order, and add up.
    case 'last_handshake_time_sec':
      peer.latestHandshake = counter(key, value) * NANOSECONDS
      break
    case 'last_handshake_time_nsec':
      peer.latestHandshake += counter(key, value)
      break
    case 'rx_bytes':
      peer.rxBytes = counter(key, value)
      break
    case 'tx_bytes':
      peer.txBytes = counter(key, value)
      break
  }
}

function parseLine(line: string): Line {
  const match = line.length <= MAX_LINE ? LINE.exec(line) : null
  if (match?.[1] === undefined || match[2] === undefined) throw new UapiFormatError('a line is not key=value')
  return [match[1], match[2]]
}

function keyBytes(key: string, value: string): Uint8Array {
  if (!/^[0-9a-fA-F]{64}$/.test(value)) throw new UapiFormatError(`${key} is not 64 hexadecimal digits`)
  return Uint8Array.from(Buffer.from(value, 'hex'))
}

function integer(key: string, value: string, max: number): number {
  const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN
  if (!(number <= max)) throw new UapiFormatError(`${key} is not a number of 0 to ${max}`)
  return number
}

/** Unsigned 64 bits. */
function counter(key: string, value: string): bigint {
  const number = /^\d{1,20}$/.test(value) ? BigInt(value) : -1n
  if (number < 0n || number >= 1n << 64n) throw new UapiFormatError(`${key} is not an unsigned 64-bit number`)
  return number
}

/** A link-local endpoint has a zone, which is the receiving device's business; port 0 can be configured and means nothing. */
function endpoint(value: string): Endpoint | undefined {
  if (value.endsWith(':0')) return undefined
  return formatted('endpoint', () => parseEndpoint(value.replace(/%[^\]]*\]/, ']')))
}

const allowedIp = (value: string): Cidr => formatted('allowed_ip', () => parseExactCidr(value))

function formatted<Result>(key: string, parse: () => Result): Result {
  try {
    return parse()
  } catch (error) {
    if (error instanceof IpFormatError) throw new UapiFormatError(`${key} is ${error.message}`)
    throw error
  }
}

const emptyPeer = (publicKey: PublicKey): PeerDraft => ({
  publicKey,
  endpoint: undefined,
  allowedIps: new Set<Cidr>(),
  persistentKeepalive: 0,
  latestHandshake: 0n,
  rxBytes: 0n,
  txBytes: 0n,
})
