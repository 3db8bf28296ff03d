import {
  addressBytes,
  addressFromBytes,
  type Cidr,
  cidrAddress,
  cidrFromBytes,
  type Family,
  familyOf,
  type IpAddress,
} from '../ip.ts'
import type { Attribute, AttributeWriter } from '../netlink/attributes.ts'
import { NetlinkFormatError } from '../netlink/errors.ts'

/** What the codecs of links, addresses, routes and rules have in common. */

const AF_INET = 2
const AF_INET6 = 10

/**
 * An attribute that Podveil has no field for, as it came. It is part of what an object is: two objects are equal only if
 * these are, and it goes back to the kernel as it is.
 */
export interface OpaqueAttribute {
  readonly type: number
  /** Hexadecimal. */
  readonly value: string
}

export const opaque = ({ type, payload }: Attribute): OpaqueAttribute => ({
  type,
  value: Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString('hex'),
})

export function writeOpaque(writer: AttributeWriter, attributes: readonly OpaqueAttribute[] = []): void {
  for (const { type, value } of attributes) writer.binary(type, Buffer.from(value, 'hex'))
}

export const sameOpaque = (a: readonly OpaqueAttribute[] = [], b: readonly OpaqueAttribute[] = []): boolean =>
  a.length === b.length && a.every(({ type, value }, i) => type === b[i]?.type && value === b[i]?.value)

/** @returns undefined for families other than IP, which share these messages */
export function ipFamily(addressFamily: number): Family | undefined {
  if (addressFamily === AF_INET) return 4
  return addressFamily === AF_INET6 ? 6 : undefined
}

/**
 * An address in the length of its own family. The text of an IPv4-mapped IPv6 prefix (systemd routes ::ffff:0:0/96 to
 * nowhere) would otherwise become an IPv4 one.
 */
export function wireBytes(address: IpAddress): Uint8Array {
  const bytes = addressBytes(address)
  if (familyOf(address) === 4 || bytes.length === 16) return bytes
  return Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...bytes)
}

export const wirePrefix = (cidr: Cidr): Uint8Array => wireBytes(cidrAddress(cidr))

const addressLength = (family: Family): number => (family === 4 ? 4 : 16)

/** @throws NetlinkFormatError when it is not an address of that family */
export const readAddress = (attribute: Attribute, family: Family): IpAddress =>
  addressFromBytes(attribute.exactly(addressLength(family)))

/**
 * @param attribute left out by the kernel where the length is 0
 * @throws NetlinkFormatError when it is not a prefix of that family
 */
export function readPrefix(attribute: Attribute | undefined, family: Family, length: number): Cidr {
  const bytes = attribute?.exactly(addressLength(family)) ?? new Uint8Array(addressLength(family))
  if (length > bytes.length * 8) throw new NetlinkFormatError(`prefix of ${length} bits`)
  return cidrFromBytes(bytes, length)
}

/** The fixed header of a message. @throws NetlinkFormatError when the payload is shorter */
export function fixedHeader(payload: Uint8Array, length: number, what: string): DataView {
  if (payload.length < length) throw new NetlinkFormatError(`${what} message of ${payload.length} bytes`)
  return new DataView(payload.buffer, payload.byteOffset, length)
}
