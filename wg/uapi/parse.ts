import { PrivateKey } from '#keys/private-key.ts'
import { type PublicKey, unverifiedPublicKey } from '#keys/public-key.ts'
import type { DeviceStatus, PeerStatus } from '../device/device.ts'
import { type Cidr, type Endpoint, formatEndpoint, IpFormatError, parseEndpoint, parseExactCidr } from '../ip.ts'
import { sameSet } from '../same-set.ts'
import { UapiFormatError } from './errors.ts'

const NANOSECONDS = 1_000_000_000n
/** The longest line there is has a key: 78 characters. */
const MAX_LINE = 256
const KEY = /^[a-z0-9_]{1,64}$/

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] }

/**
 * Takes an answer apart as it comes: of 5,000 peers it has 2 MB, and is never there as a whole. It must end with `errno=…`
 * and a blank line, and have no other blank line.
 */
export class AnswerReader {
  readonly #line: (key: string, value: string) => void
  /** A line that has no end yet. */
  #begun = ''
  #errno: number | undefined
  #isComplete = false

  /** @param line is given each line but the last; what it throws feed() does */
  constructor(line: (key: string, value: string) => void) {
    this.#line = line
  }

  /** @returns whether this was the end @throws UapiFormatError */
  feed(piece: string): boolean {
    const text = this.#begun + piece
    let from = 0
    for (let to = text.indexOf('\n'); to >= 0; to = text.indexOf('\n', from)) {
      this.#take(text, from, to)
      from = to + 1
    }
    this.#begun = text.slice(from)
    if (this.#begun.length > MAX_LINE) throw new UapiFormatError('a line is too long')
    return this.#isComplete
  }

  /** Positive; 0 is success. @throws UapiFormatError before the end */
  get errno(): number {
    if (!this.#isComplete || this.#errno === undefined) throw new UapiFormatError('the answer ends early')
    return this.#errno
  }

  /** The line from here to there. */
  #take(text: string, from: number, to: number): void {
    if (this.#isComplete) throw new UapiFormatError('the answer goes on after its end')
    if ((from === to) !== (this.#errno !== undefined))
      throw new UapiFormatError('the answer does not end with the one errno')
    if (from === to) {
      this.#isComplete = true
      return
    }
    const at = text.indexOf('=', from)
    const key = text.slice(from, Math.max(from, at))
    const value = text.slice(at + 1, to)
    if (at >= to || to - from > MAX_LINE || !KEY.test(key)) throw new UapiFormatError('a line is not key=value')
    // wireguard-go writes negative numbers, others positive ones.
    if (key === 'errno') this.#errno = integer('errno', value.replace(/^-/, ''), 0xffff)
    else this.#line(key, value)
  }
}

/** Makes a device of the lines of the answer to `get=1`. Keys that are not known are passed over: later versions add some. */
export class DeviceReader {
  readonly #known: DeviceStatus['peers'] | undefined
  readonly #peers = new Map<PublicKey, PeerStatus>()
  readonly #device: Mutable<DeviceStatus>
  #peer: PeerReader | undefined

  /** @param known peers as they were last read: one that is as it was stays the same object */
  constructor(name: string, known?: DeviceStatus['peers']) {
    this.#known = known
    const none = { publicKey: undefined, privateKey: undefined, listenPort: 0, fwmark: 0 }
    this.#device = { name, ...none, peers: this.#peers }
  }

  /** @throws UapiFormatError */
  take(key: string, value: string): void {
    if (key === 'public_key') {
      this.#endPeer()
      const publicKey = unverifiedPublicKey(keyBytes(key, value))
      this.#peer = new PeerReader(publicKey, this.#peers.get(publicKey), this.#known?.get(publicKey))
    } else if (this.#peer) this.#peer.take(key, value)
    else readDeviceLine(this.#device, key, value)
  }

  /** After the last line. @throws UapiFormatError */
  get device(): DeviceStatus {
    this.#endPeer()
    return this.#device
  }

  #endPeer(): void {
    const peer = this.#peer?.peer
    if (peer) this.#peers.set(peer.publicKey, peer)
    this.#peer = undefined
  }
}

class PeerReader {
  readonly #known: PeerStatus | undefined
  readonly #read: Mutable<Omit<PeerStatus, 'allowedIps'>>
  readonly #prefixes: Set<string>

  /** @param begun what earlier lines said of it */
  constructor(publicKey: PublicKey, begun: PeerStatus | undefined, known: PeerStatus | undefined) {
    this.#known = known
    const { allowedIps, ...read } = begun ?? untouched(publicKey)
    this.#read = read
    this.#prefixes = new Set(allowedIps)
  }

  take(key: string, value: string): void {
    const read = this.#read
    switch (key) {
      case 'endpoint': {
        const known = this.#known?.endpoint
        read.endpoint = known && formatEndpoint(known) === value ? known : endpoint(value)
        break
      }
      case 'allowed_ip':
        this.#prefixes.add(value)
        break
      case 'persistent_keepalive_interval':
        read.persistentKeepalive = integer(key, value, 0xffff)
        break
      // The two lines come in this order, and add up.
      case 'last_handshake_time_sec':
        read.latestHandshake = counter(key, value) * NANOSECONDS
        break
      case 'last_handshake_time_nsec':
        read.latestHandshake += counter(key, value)
        break
      case 'rx_bytes':
        read.rxBytes = counter(key, value)
        break
      case 'tx_bytes':
        read.txBytes = counter(key, value)
        break
    }
  }

  get peer(): PeerStatus {
    const known = this.#known
    const read = this.#read
    const allowedIps = known && sameSet<string>(this.#prefixes, known.allowedIps) ? known.allowedIps : this.#parsed()
    const same =
      known?.allowedIps === allowedIps &&
      known.endpoint === read.endpoint &&
      known.latestHandshake === read.latestHandshake &&
      known.rxBytes === read.rxBytes &&
      known.txBytes === read.txBytes &&
      known.persistentKeepalive === read.persistentKeepalive
    return same ? known : { ...read, publicKey: known?.publicKey ?? read.publicKey, allowedIps }
  }

  #parsed(): Set<Cidr> {
    const parsed = new Set<Cidr>()
    for (const prefix of this.#prefixes) parsed.add(allowedIp(prefix))
    return parsed
  }
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

function keyBytes(key: string, value: string): Uint8Array {
  if (!/^[0-9a-fA-F]{64}$/.test(value)) throw new UapiFormatError(`${key} is not 64 hexadecimal digits`)
  return Buffer.from(value, 'hex')
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

const untouched = (publicKey: PublicKey): PeerStatus => ({
  publicKey,
  endpoint: undefined,
  allowedIps: NO_PREFIXES,
  persistentKeepalive: 0,
  latestHandshake: 0n,
  rxBytes: 0n,
  txBytes: 0n,
})

const NO_PREFIXES: ReadonlySet<Cidr> = new Set()
