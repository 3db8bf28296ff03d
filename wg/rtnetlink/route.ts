import { addressBits, addressFamily, type Cidr, type Family, familyOf, type IpAddress, prefixLength } from '../ip.ts'
import { type Attribute, AttributeWriter, readAttributes } from '../netlink/attributes.ts'
import {
  fixedHeader,
  ipFamily,
  type OpaqueAttribute,
  opaque,
  readAddress,
  readPrefix,
  sameOpaque,
  wireBytes,
  wirePrefix,
  writeOpaque,
} from './codec.ts'
import { LOOPBACK_INDEX, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE } from './constants.ts'

/**
 * struct rtmsg of linux/rtnetlink.h: u8 family, u8 destination length, u8 source length, u8 tos, u8 table, u8 protocol,
 * u8 scope, u8 type, u32 flags.
 */
const RTMSG = 12

const RTA_DST = 1
const RTA_SRC = 2
const RTA_IIF = 3
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_PRIORITY = 6
const RTA_PREFSRC = 7
const RTA_METRICS = 8
const RTA_CACHEINFO = 12
const RTA_TABLE = 15
const RTA_MARK = 16
const RTA_PREF = 20
const RTA_PAD = 26
const RTAX_MTU = 2

/** The only flag that a user sets and the kernel keeps; the others say how the device is doing. */
const RTNH_F_ONLINK = 4
/** A copy that the kernel keeps for itself, such as a path MTU that it learned. */
const RTM_F_CLONED = 0x200
/** Asks for the table that decided, and for the route as it is configured instead of what became of it. */
const RTM_F_LOOKUP_TABLE = 0x1000
const RTM_F_FIB_MATCH = 0x2000

/** rtm_type, in the order of linux/rtnetlink.h. */
const ROUTE_TYPES = [
  'unspec',
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
  'nat',
  'xresolve',
] as const
export type RouteType = (typeof ROUTE_TYPES)[number]

/** Types that lead to no device. */
const DEAD_ENDS: ReadonlySet<RouteType> = new Set(['blackhole', 'unreachable', 'prohibit', 'throw'])

/** IP6_RT_PRIO_USER: what the kernel makes of metric 0. */
const IPV6_DEFAULT_METRIC = 1024

/** A route as it is configured; counters and the state of its device are left out. */
export interface Route {
  readonly table: number
  /** Says the family as well; the default route is 0.0.0.0/0 or ::/0. */
  readonly destination: Cidr
  readonly type: RouteType
  /** Device index; never there for blackhole, unreachable, prohibit and throw, which IPv6 shows on the loopback device. */
  readonly device?: number
  readonly gateway?: IpAddress
  /** RTPROT_*: who put it there. */
  readonly protocol: number
  /** RT_SCOPE_*; always 0 for IPv6. */
  readonly scope: number
  /** The lower one wins. 0 is none in IPv4; of an IPv6 route that is written with 0 the kernel makes 1024. */
  readonly metric: number
  /** Of packets that take this route, in bytes. */
  readonly mtu?: number
  /** Preferred source address. */
  readonly source?: IpAddress
  /** IPv6: only packets from here. */
  readonly from?: Cidr
  readonly tos?: number
  /** The gateway is taken to be reachable. */
  readonly onlink?: true
  /** Next hops of a multipath route, encapsulation, further metrics: whatever has no field above. */
  readonly other?: readonly OpaqueAttribute[]
}

/** A route with the values that the kernel would choose: what `ip route add` makes of the same words. */
export function makeRoute(fields: Omit<Route, 'scope' | 'metric'> & Partial<Pick<Route, 'scope' | 'metric'>>): Route {
  const isIpv4 = familyOf(fields.destination) === 4
  const onDevice = isIpv4 && fields.type === 'unicast' && fields.gateway === undefined
  const scope = onDevice ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE
  return { scope, metric: isIpv4 ? 0 : IPV6_DEFAULT_METRIC, ...fields }
}

/**
 * Payload of RTM_NEWROUTE and RTM_DELROUTE: everything is named, so that a deletion takes this route or none. One thing
 * cannot be named: to IPv4, metric 0 in a deletion means any. Where this route is gone, one that differs by its metric
 * alone, with our protocol on our device in our table, would be taken.
 */
export function encodeRoute(route: Route): Uint8Array {
  const family = familyOf(route.destination)
  const { table, from, device, gateway, metric, mtu, source, other } = route
  const header = new Uint8Array(RTMSG)
  header.set([
    addressFamily(family),
    prefixLength(route.destination),
    from === undefined ? 0 : prefixLength(from),
    route.tos ?? 0,
    // Tables above 255 are in RTA_TABLE alone.
    table < 256 ? table : 0,
    route.protocol,
    route.scope,
    ROUTE_TYPES.indexOf(route.type),
  ])
  if (route.onlink) header[8] = RTNH_F_ONLINK
  const writer = new AttributeWriter(128).raw(header)
  if (header[1] !== 0) writer.binary(RTA_DST, wirePrefix(route.destination))
  if (from !== undefined) writer.binary(RTA_SRC, wirePrefix(from))
  writer.u32(RTA_TABLE, table)
  const oif = DEAD_ENDS.has(route.type) ? deadEndDevice(family) : device
  if (oif !== undefined) writer.u32(RTA_OIF, oif)
  if (gateway !== undefined) writer.binary(RTA_GATEWAY, wireBytes(gateway))
  if (metric !== 0) writer.u32(RTA_PRIORITY, metric)
  if (source !== undefined) writer.binary(RTA_PREFSRC, wireBytes(source))
  const hasOpaqueMetrics = other?.some(({ type }) => type === RTA_METRICS) ?? false
  if (mtu !== undefined && !hasOpaqueMetrics) writer.nested(RTA_METRICS, metrics => metrics.u32(RTAX_MTU, mtu))
  writeOpaque(writer, other)
  return writer.bytes()
}

/** Payload of an RTM_GETROUTE dump. Kernels without strict checking answer with every table. */
export function encodeRouteDump(family: Family, table: number): Uint8Array {
  const header = new Uint8Array(RTMSG)
  header[0] = addressFamily(family)
  return new AttributeWriter(32).raw(header).u32(RTA_TABLE, table).bytes()
}

/** A packet, as far as routing looks at it. */
export interface RouteQuery {
  readonly to: IpAddress
  /** Of a packet that this host sends itself it must be its own. */
  readonly from?: IpAddress
  /** Index of the device that it came in by: it is forwarded then, and the reverse-path filter judges it as well. */
  readonly iif?: number
  /** Of the packet; 0 is none. */
  readonly mark?: number
}

/** Payload of an RTM_GETROUTE for one packet: the route that the kernel would take, as it is configured. */
export function encodeRouteQuery({ to, from, iif, mark = 0 }: RouteQuery): Uint8Array {
  const family = familyOf(to)
  const bits = addressBits(family)
  const header = new Uint8Array(RTMSG)
  header.set([addressFamily(family), bits, from === undefined ? 0 : bits])
  // IPv6 says the table in any case, and its strict checking knows no such flag.
  const flags = family === 4 ? RTM_F_FIB_MATCH | RTM_F_LOOKUP_TABLE : RTM_F_FIB_MATCH
  new DataView(header.buffer).setUint32(8, flags, true)
  const writer = new AttributeWriter(64).raw(header).binary(RTA_DST, wireBytes(to))
  if (from !== undefined) writer.binary(RTA_SRC, wireBytes(from))
  if (iif !== undefined) writer.u32(RTA_IIF, iif)
  if (mark !== 0) writer.u32(RTA_MARK, mark)
  return writer.bytes()
}

/** @returns undefined for a family other than IP and for the kernel's own copies of routes @throws NetlinkFormatError */
export function parseRoute(payload: Uint8Array): Route | undefined {
  const header = fixedHeader(payload, RTMSG, 'route')
  const family = ipFamily(header.getUint8(0))
  const flags = header.getUint32(8, true)
  if (family === undefined || flags & RTM_F_CLONED) return undefined
  const type = ROUTE_TYPES[header.getUint8(7)]
  if (type === undefined) return undefined

  let destination: Attribute | undefined
  let from: Attribute | undefined
  let table = header.getUint8(4)
  const found: { device?: number; gateway?: IpAddress; metric?: number; mtu?: number; source?: IpAddress } = {}
  const other: OpaqueAttribute[] = []
  for (const attribute of readAttributes(payload.subarray(RTMSG))) {
    switch (attribute.type) {
      case RTA_DST:
        destination = attribute
        break
      case RTA_SRC:
        from = attribute
        break
      case RTA_TABLE:
        table = attribute.u32()
        break
      case RTA_OIF:
        if (!DEAD_ENDS.has(type)) found.device = attribute.u32()
        break
      case RTA_GATEWAY:
        found.gateway = readAddress(attribute, family)
        break
      case RTA_PRIORITY:
        found.metric = attribute.u32()
        break
      case RTA_PREFSRC:
        found.source = readAddress(attribute, family)
        break
      case RTA_METRICS:
        if (!readMtu(attribute, found)) other.push(opaque(attribute))
        break
      default:
        if (!isState(attribute)) other.push(opaque(attribute))
    }
  }
  const fromLength = header.getUint8(2)
  const tos = header.getUint8(3)
  const { metric = 0, ...rest } = found
  return {
    table,
    destination: readPrefix(destination, family, header.getUint8(1)),
    type,
    protocol: header.getUint8(5),
    scope: header.getUint8(6),
    metric,
    ...rest,
    ...(fromLength > 0 && { from: readPrefix(from, family, fromLength) }),
    ...(tos !== 0 && { tos }),
    ...((flags & RTNH_F_ONLINK) !== 0 && { onlink: true as const }),
    ...(other.length > 0 && { other }),
  }
}

/** Whether two routes are configured alike in everything. */
export const sameRoute = (a: Route, b: Route): boolean =>
  routeSlot(a) === routeSlot(b) &&
  a.type === b.type &&
  a.device === b.device &&
  a.gateway === b.gateway &&
  a.protocol === b.protocol &&
  a.scope === b.scope &&
  a.mtu === b.mtu &&
  a.source === b.source &&
  a.onlink === b.onlink &&
  sameOpaque(a.other, b.other)

/** The place that a route takes in the kernel: `replace` puts out whatever is in the same one. A key for maps. */
export const routeSlot = ({ table, destination, from, tos, metric }: Route): string =>
  [table, destination, metric, tos ?? 0, ...(from === undefined ? [] : [from])].join(' ')

/** `throw 10.0.0.0/8 table 100`, for messages. */
export const describeRoute = ({ type, destination, gateway, device, table }: Route): string =>
  [
    type === 'unicast' ? '' : `${type} `,
    destination,
    gateway === undefined ? '' : ` via ${gateway}`,
    device === undefined ? '' : ` dev #${device}`,
    ` table ${table}`,
  ].join('')

/** IPv6 tells types apart by nothing else when it deletes; IPv4 refuses a device here. */
const deadEndDevice = (family: Family): number | undefined => (family === 6 ? LOOPBACK_INDEX : undefined)

/** What the kernel reports beside the configuration: ages and use counts, and IPv6's router preference where it is medium. */
const isState = ({ type, payload }: Attribute): boolean =>
  type === RTA_CACHEINFO || type === RTA_PAD || (type === RTA_PREF && payload[0] === 0)

/** @returns whether the MTU was all that the metrics have */
function readMtu(metrics: Attribute, found: { mtu?: number }): boolean {
  const all = metrics.nested()
  const mtu = all.find(({ type }) => type === RTAX_MTU)
  if (mtu !== undefined) found.mtu = mtu.u32()
  return mtu !== undefined && all.length === 1
}
