import { addressFamily, type Family, familyOf, type IpAddress } from '../ip.ts'
import { AttributeWriter, readAttributes } from '../netlink/attributes.ts'
import { NetlinkFormatError } from '../netlink/errors.ts'
import { fixedHeader, ipFamily, readAddress, wireBytes } from './codec.ts'
import { RT_SCOPE_UNIVERSE } from './constants.ts'

/** struct ifaddrmsg of linux/if_addr.h: u8 family, u8 prefix length, u8 flags, u8 scope, u32 index. */
const IFADDRMSG = 8

const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_LABEL = 3
const IFA_FLAGS = 8

/** No duplicate address detection: an address of a tunnel is usable at once. */
export const IFA_F_NODAD = 0x02
export const IFA_F_DADFAILED = 0x08
/** Not usable yet: duplicate address detection is under way. */
export const IFA_F_TENTATIVE = 0x40

/** What tells an address of a device from the others, and what can be written. */
export interface AddressPrefix {
  readonly address: IpAddress
  /** Of the network that comes with it, in bits; a route to that is made by the kernel unless it is the full length. */
  readonly prefixLength: number
}

/** An address of a device. */
export interface Address extends AddressPrefix {
  readonly ifindex: number
  /** The other end, where it has one. */
  readonly peer?: IpAddress
  /** RT_SCOPE_*. */
  readonly scope: number
  /** IFA_F_*. */
  readonly flags: number
  /** IPv4: the device's name, or what was put in its place. */
  readonly label?: string
}

/** Payload of RTM_NEWADDR and RTM_DELADDR. */
export function encodeAddress(address: AddressPrefix & Pick<Address, 'ifindex'> & Partial<Address>): Uint8Array {
  const { ifindex, prefixLength, scope = RT_SCOPE_UNIVERSE, flags = 0, label } = address
  const family = familyOf(address.address)
  const header = new Uint8Array(IFADDRMSG)
  const view = new DataView(header.buffer)
  header.set([addressFamily(family), prefixLength, flags & 0xff, scope])
  view.setUint32(4, ifindex, true)
  const writer = new AttributeWriter().raw(header)
  // IFA_LOCAL is the device's own address and IFA_ADDRESS the peer's; without a peer they are the same.
  writer.binary(IFA_LOCAL, wireBytes(address.address))
  writer.binary(IFA_ADDRESS, wireBytes(address.peer ?? address.address))
  if (label !== undefined) writer.string(IFA_LABEL, label)
  if (flags !== 0) writer.u32(IFA_FLAGS, flags)
  return writer.bytes()
}

/** Payload of an RTM_GETADDR dump. */
export function encodeAddressDump(family: Family, ifindex = 0): Uint8Array {
  const header = new Uint8Array(IFADDRMSG)
  header[0] = addressFamily(family)
  new DataView(header.buffer).setUint32(4, ifindex, true)
  return header
}

/** @returns undefined for a family other than IP @throws NetlinkFormatError */
export function parseAddressMessage(payload: Uint8Array): Address | undefined {
  const header = fixedHeader(payload, IFADDRMSG, 'address')
  const family = ipFamily(header.getUint8(0))
  if (family === undefined) return undefined
  let flags = header.getUint8(2)
  let local: IpAddress | undefined
  let address: IpAddress | undefined
  let label: string | undefined
  for (const attribute of readAttributes(payload.subarray(IFADDRMSG))) {
    if (attribute.type === IFA_LOCAL) local = readAddress(attribute, family)
    else if (attribute.type === IFA_ADDRESS) address = readAddress(attribute, family)
    else if (attribute.type === IFA_LABEL) label = attribute.string()
    else if (attribute.type === IFA_FLAGS) flags = attribute.u32()
  }
  const own = local ?? address
  const ifindex = header.getUint32(4, true)
  if (own === undefined) throw new NetlinkFormatError(`address of device ${ifindex} without an address`)
  return {
    ifindex,
    address: own,
    prefixLength: header.getUint8(1),
    ...(address !== undefined && address !== own && { peer: address }),
    scope: header.getUint8(3),
    flags,
    ...(label !== undefined && { label }),
  }
}
