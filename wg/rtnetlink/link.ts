import { type Attribute, AttributeWriter, readAttributes } from '../netlink/attributes.ts'
import { NetlinkFormatError } from '../netlink/errors.ts'
import { fixedHeader } from './codec.ts'

/** struct ifinfomsg of linux/rtnetlink.h: u8 family, u8 padding, u16 ARPHRD_*, i32 index, u32 flags, u32 change mask. */
const IFINFOMSG = 16

/** linux/if_link.h. */
const IFLA_IFNAME = 3
const IFLA_MTU = 4
const IFLA_LINK = 5
const IFLA_MASTER = 10
const IFLA_TXQLEN = 13
const IFLA_OPERSTATE = 16
const IFLA_LINKINFO = 18
const IFLA_IFALIAS = 20
const IFLA_EXT_MASK = 29
const IFLA_INFO_KIND = 1
const RTEXT_FILTER_SKIP_STATS = 8

/** linux/if.h. */
const IFF_UP = 0x1
const IFF_LOWER_UP = 0x1_0000
/** IFNAMSIZ, with the NUL. */
const NAME_SIZE = 16

/** RFC 2863, in the order of linux/if.h. */
const OPER_STATES = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up'] as const
export type OperState = (typeof OPER_STATES)[number]

/** A network interface. */
export interface Link {
  /** Unique in its network namespace, never 0. */
  readonly index: number
  readonly name: string
  /** `wireguard`, `veth`; undefined where there is no driver of that sort behind it: hardware, loopback. */
  readonly kind?: string
  readonly mtu: number
  /** Set up by the administrator (IFF_UP). */
  readonly up: boolean
  /** The layer below says that it carries (IFF_LOWER_UP). */
  readonly lowerUp: boolean
  readonly operState: OperState
  readonly alias?: string
  /** The device below or, of a veth, at the other end; possibly in another network namespace. */
  readonly linkIndex?: number
  /** The bridge or bond that it belongs to. */
  readonly master?: number
}

/** What can be written to a link. */
export interface LinkChange {
  readonly name?: string
  readonly kind?: string
  readonly mtu?: number
  /** Packets that wait for the device. */
  readonly txQueueLength?: number
  readonly up?: boolean
  /** Empty removes it. */
  readonly alias?: string
}

/**
 * Payload of RTM_NEWLINK, RTM_DELLINK and RTM_GETLINK for one link.
 * @param link which one: by index, or by name with index 0
 * @throws NetlinkFormatError for a name that the kernel would cut
 */
export function encodeLink(index: number, change: LinkChange = {}): Uint8Array {
  const header = new Uint8Array(IFINFOMSG)
  const view = new DataView(header.buffer)
  view.setInt32(4, index, true)
  if (change.up !== undefined) {
    view.setUint32(8, change.up ? IFF_UP : 0, true)
    view.setUint32(12, IFF_UP, true)
  }
  const writer = new AttributeWriter().raw(header)
  const { name, kind, mtu, txQueueLength, alias } = change
  if (name !== undefined) writer.string(IFLA_IFNAME, checkedName(name))
  if (mtu !== undefined) writer.u32(IFLA_MTU, mtu)
  if (txQueueLength !== undefined) writer.u32(IFLA_TXQLEN, txQueueLength)
  if (alias !== undefined) writer.binary(IFLA_IFALIAS, Buffer.from(alias))
  if (kind !== undefined) writer.nested(IFLA_LINKINFO, info => info.string(IFLA_INFO_KIND, kind))
  return writer.bytes()
}

/** Payload of an RTM_GETLINK dump, without the counters. */
export const encodeLinkDump = (): Uint8Array =>
  new AttributeWriter().raw(new Uint8Array(IFINFOMSG)).u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS).bytes()

/**
 * @returns undefined for what is told about a link by another layer: a port that joins or leaves a bridge is such a
 * message, and its RTM_DELLINK does not mean that the link is gone
 * @throws NetlinkFormatError
 */
export function parseLink(payload: Uint8Array): Link | undefined {
  const header = fixedHeader(payload, IFINFOMSG, 'link')
  if (header.getUint8(0) !== 0) return undefined
  const flags = header.getUint32(8, true)
  const found: {
    name?: string
    kind?: string
    mtu?: number
    alias?: string
    linkIndex?: number
    master?: number
    operState?: OperState
  } = {}
  for (const attribute of readAttributes(payload.subarray(IFINFOMSG))) {
    if (attribute.type === IFLA_IFNAME) found.name = attribute.string()
    else if (attribute.type === IFLA_MTU) found.mtu = attribute.u32()
    else if (attribute.type === IFLA_LINK) found.linkIndex = attribute.i32()
    else if (attribute.type === IFLA_MASTER) found.master = attribute.i32()
    else if (attribute.type === IFLA_OPERSTATE) found.operState = OPER_STATES[attribute.u8()] ?? 'unknown'
    else if (attribute.type === IFLA_IFALIAS) found.alias = attribute.string()
    else if (attribute.type === IFLA_LINKINFO) Object.assign(found, parseKind(attribute))
  }
  const { name, mtu = 0, operState = 'unknown', ...rest } = found
  const index = header.getInt32(4, true)
  if (name === undefined) throw new NetlinkFormatError(`link ${index} without a name`)
  const up = (flags & IFF_UP) !== 0
  const lowerUp = (flags & IFF_LOWER_UP) !== 0
  return { index, name, mtu, up, lowerUp, operState, ...rest }
}

function parseKind(info: Attribute): { kind?: string } {
  const kind = info.nested().find(({ type }) => type === IFLA_INFO_KIND)
  return kind === undefined ? {} : { kind: kind.string() }
}

function checkedName(name: string): string {
  if (name === '' || Buffer.byteLength(name) >= NAME_SIZE)
    throw new NetlinkFormatError(`a link's name has 1 to ${NAME_SIZE - 1} bytes: ${JSON.stringify(name)}`)
  return name
}
