import { isIPv6 } from 'node:net'

declare const addressBrand: unique symbol
declare const cidrBrand: unique symbol

/** IP family as people write it. */
export type Family = 4 | 6

/** An IPv4 or IPv6 address in canonical text: dotted quad, or RFC 5952. Two equal addresses are equal strings. */
export type IpAddress = string & { readonly [addressBrand]: 'IpAddress' }

/** A prefix in canonical text, host bits zero: `10.244.1.0/24`, `fd00:1::/64`. Two equal prefixes are equal strings. */
export type Cidr = string & { readonly [cidrBrand]: 'Cidr' }

/** A UDP endpoint. */
export interface Endpoint {
  readonly address: IpAddress
  /** 1 to 65535. */
  readonly port: number
}

/** Text or bytes that are not an address, a prefix or an endpoint. The message quotes what was given, cut to 64 characters. */
export class IpFormatError extends Error {
  override readonly name = 'IpFormatError'
  readonly code = 'ERR_IP_FORMAT'
  constructor(what: string, given: string) {
    super(`not ${what}: ${JSON.stringify(given.length > 64 ? `${given.slice(0, 64)}…` : given)}`)
  }
}

export const FAMILIES: readonly Family[] = [4, 6]

/** Address length in bits. */
export const addressBits = (family: Family): 32 | 128 => (family === 4 ? 32 : 128)

/** AF_INET or AF_INET6 of linux/socket.h. */
export const addressFamily = (family: Family): 2 | 10 => (family === 4 ? 2 : 10)

export const familyOf = (value: IpAddress | Cidr): Family => (value.includes(':') ? 6 : 4)

/**
 * Parses an address without a prefix length. Zone indices and IPv4 with leading zeros are refused; an IPv4-mapped IPv6
 * address becomes the IPv4 address it stands for.
 * @throws IpFormatError
 */
export function parseAddress(text: string): IpAddress {
  const bytes = addressToBytes(text)
  if (!bytes) throw new IpFormatError('an IP address', text)
  return addressFromBytes(bytes)
}

/**
 * Parses `address/length`; a bare address is a prefix of full length. Host bits are cleared. An IPv4-mapped prefix is
 * refused: its length would have to be mapped as well, and nobody writes one on purpose.
 * @throws IpFormatError
 */
export function parseCidr(text: string): Cidr {
  if (!text.includes('/')) {
    const bytes = addressToBytes(text)
    if (!bytes) throw new IpFormatError('a CIDR', text)
    return hostCidr(addressFromBytes(bytes))
  }
  const cidr = parseExactCidr(text)
  if (isMapped(addressBytes(text.slice(0, text.indexOf('/')) as IpAddress))) throw new IpFormatError('a CIDR', text)
  return cidr
}

/**
 * Parses `address/length` as a device prints it: an IPv4-mapped prefix stays the IPv6 prefix that it is there.
 * @throws IpFormatError
 */
export function parseExactCidr(text: string): Cidr {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text)
  const bytes = addressToBytes(match?.[1] ?? '')
  const length = Number(match?.[2])
  if (!bytes || !(length <= bytes.length * 8)) throw new IpFormatError('a CIDR', text)
  return cidrFromBytes(bytes, length)
}

/** 4 or 16 bytes in network order, as many as the text's family has. */
export function addressBytes(address: IpAddress): Uint8Array {
  const bytes = addressToBytes(address)
  if (!bytes) throw new IpFormatError('an IP address', address)
  return bytes
}

/**
 * An IPv4-mapped IPv6 address becomes the IPv4 address it stands for.
 * @throws IpFormatError when there are neither 4 nor 16 bytes
 */
export const addressFromBytes = (bytes: Uint8Array): IpAddress =>
  formatBytes(isMapped(bytes) ? bytes.subarray(12) : bytes) as IpAddress

/**
 * The prefix with `length` bits of these bytes; host bits are cleared. 16 bytes are always an IPv6 prefix: mapping
 * `::ffff:0:0/96` would turn it into all of IPv4.
 * @throws IpFormatError
 */
export function cidrFromBytes(bytes: Uint8Array, length: number): Cidr {
  if (!Number.isInteger(length) || length < 0 || length > bytes.length * 8)
    throw new IpFormatError('a CIDR', `prefix length ${length} of ${bytes.length * 8}`)
  const masked = new Uint8Array(bytes)
  const partial = length >> 3
  if (partial < masked.length) {
    masked[partial] = (masked[partial] ?? 0) & (0xff00 >> (length & 7))
    masked.fill(0, partial + 1)
  }
  return joined(formatBytes(masked), length)
}

/** Network address, in bytes. */
export const cidrBytes = (cidr: Cidr): Uint8Array => addressBytes(cidrAddress(cidr))

export const cidrAddress = (cidr: Cidr): IpAddress => cidr.slice(0, cidr.indexOf('/')) as IpAddress

export const prefixLength = (cidr: Cidr): number => Number(cidr.slice(cidr.indexOf('/') + 1))

/** The address as a prefix of full length: a host route, an allowed IP of one address. */
export const hostCidr = (address: IpAddress): Cidr => joined(address, addressBits(familyOf(address)))

/** In one piece: a string that is put together of others keeps them, and becomes one beside them when it is looked up. */
const joined = (address: string, length: number): Cidr => [address, length].join('/') as Cidr

/** Whether every address of `inner` is in `outer`; false across families. */
export function cidrContains(outer: Cidr, inner: Cidr | IpAddress): boolean {
  if (familyOf(outer) !== familyOf(inner)) return false
  const innerCidr = inner.includes('/') ? (inner as Cidr) : hostCidr(inner as IpAddress)
  const length = prefixLength(outer)
  if (prefixLength(innerCidr) < length) return false
  return cidrFromBytes(cidrBytes(innerCidr), length) === outer
}

/** The address `offset` places after the network address, or undefined where that is outside of the prefix. */
export function nthAddress(cidr: Cidr, offset: number): IpAddress | undefined {
  if (!Number.isSafeInteger(offset) || offset < 0) return undefined
  const bytes = Uint8Array.from(cidrBytes(cidr))
  let carry = offset
  for (let i = bytes.length - 1; i >= 0 && carry > 0; i--) {
    const sum = (bytes[i] ?? 0) + (carry % 256)
    bytes[i] = sum & 0xff
    // Division, not a shift: offsets go beyond 32 bits.
    carry = Math.floor(carry / 256) + (sum >>> 8)
  }
  const address = addressFromBytes(bytes)
  return carry === 0 && cidrContains(cidr, address) ? address : undefined
}

/** `10.0.0.1:51820` or `[fd00::1]:51820`. */
export const formatEndpoint = ({ address, port }: Endpoint): string =>
  familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`

/** @throws IpFormatError; names are not resolved */
export function parseEndpoint(text: string): Endpoint {
  const match = /^(?:\[([0-9a-fA-F.]*:[0-9a-fA-F:.]*)\]|([0-9.]+)):([1-9]\d{0,4})$/.exec(text)
  const addressText = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (addressText === undefined || !(port >= 1 && port <= 65535)) throw new IpFormatError('an endpoint', text)
  return { address: parseAddress(addressText), port }
}

export const sameEndpoint = (a: Endpoint | undefined, b: Endpoint | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.address === b.address && a.port === b.port)

function addressToBytes(text: string): Uint8Array | undefined {
  if (text.includes(':')) return isIPv6(text) && !text.includes('%') ? ipv6ToBytes(text) : undefined
  return ipv4ToBytes(text)
}

const DOT = 0x2e
const DIGIT_0 = 0x30

/** By hand, because all of a mesh's addresses go through it: a pattern and a list of texts take three times as long. */
function ipv4ToBytes(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4)
  let at = 0
  for (let place = 0; place < 4; place++) {
    if (place > 0 && text.charCodeAt(at++) !== DOT) return undefined
    const first = at
    let value = 0
    for (; at < first + 3; at++) {
      const digit = text.charCodeAt(at) - DIGIT_0
      if (!(digit >= 0 && digit <= 9)) break
      value = value * 10 + digit
    }
    const leadingZero = at > first + 1 && text.charCodeAt(first) === DIGIT_0
    if (at === first || value > 255 || leadingZero) return undefined
    bytes[place] = value
  }
  return at === text.length ? bytes : undefined
}

/** ::ffff:0:0/96 of RFC 4291 section 2.5.5.2. */
const isMapped = (bytes: Uint8Array): boolean =>
  bytes.length === 16 && bytes.subarray(0, 10).every(byte => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff

function ipv6ToBytes(text: string): Uint8Array {
  const lastColon = text.lastIndexOf(':')
  let groupsText = text
  if (text.includes('.')) {
    const quad = text
      .slice(lastColon + 1)
      .split('.')
      .map(Number)
    const word = (hi: number, lo: number) => (((quad[hi] ?? 0) << 8) | (quad[lo] ?? 0)).toString(16)
    groupsText = `${text.slice(0, lastColon + 1)}${word(0, 1)}:${word(2, 3)}`
  }
  const [headText = '', tailText] = groupsText.split('::')
  const head = headText === '' ? [] : headText.split(':')
  const tail = tailText === undefined || tailText === '' ? [] : tailText.split(':')
  const gap = tailText === undefined ? 0 : 8 - head.length - tail.length
  const groups = [...head, ...Array<string>(gap).fill('0'), ...tail]
  const bytes = new Uint8Array(16)
  groups.forEach((group, i) => {
    const value = Number.parseInt(group, 16)
    bytes[i * 2] = value >>> 8
    bytes[i * 2 + 1] = value & 0xff
  })
  return bytes
}

function formatBytes(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
  if (bytes.length !== 16) throw new IpFormatError('an IP address', `${bytes.length} bytes`)
  return formatIpv6(bytes)
}

function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[i * 2] ?? 0) << 8) | (bytes[i * 2 + 1] ?? 0))
  let best = { start: -1, length: 1 }
  for (let i = 0; i < 8; i++) {
    let run = 0
    while (i + run < 8 && groups[i + run] === 0) run++
    if (run > best.length) best = { start: i, length: run }
  }
  const hex = (part: number[]) => part.map(group => group.toString(16)).join(':')
  if (best.start < 0) return hex(groups)
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`
}
