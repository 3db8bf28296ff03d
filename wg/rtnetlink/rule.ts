import { addressFamily, type Cidr, type Family, prefixLength } from '../ip.ts'
import { type Attribute, AttributeWriter, readAttributes } from '../netlink/attributes.ts'
import { fixedHeader, ipFamily, type OpaqueAttribute, opaque, readPrefix, wirePrefix, writeOpaque } from './codec.ts'
import { RTPROT_KERNEL, RTPROT_UNSPEC } from './constants.ts'

/**
 * struct fib_rule_hdr of linux/fib_rules.h: u8 family, u8 destination length, u8 source length, u8 tos, u8 table, u8, u8,
 * u8 action, u32 flags.
 */
const FIB_RULE_HDR = 12
const FIB_RULE_INVERT = 0x2

const FRA_DST = 1
const FRA_SRC = 2
const FRA_IIFNAME = 3
const FRA_PRIORITY = 6
const FRA_FWMARK = 10
const FRA_SUPPRESS_PREFIXLEN = 14
const FRA_TABLE = 15
const FRA_FWMASK = 16
const FRA_OIFNAME = 17
const FRA_PAD = 18
const FRA_PROTOCOL = 21
const FRA_IP_PROTO = 22
const FRA_SPORT_RANGE = 23
const FRA_DPORT_RANGE = 24

/** FR_ACT_* by number. */
const ACTIONS = [
  'unspec',
  'lookup',
  'goto',
  'nop',
  'reserved3',
  'reserved4',
  'blackhole',
  'unreachable',
  'prohibit',
] as const
export type RuleAction = (typeof ACTIONS)[number]

/** Inclusive. */
export interface PortRange {
  readonly first: number
  readonly last: number
}

/** A policy rule. What is absent matches everything. */
export interface Rule {
  readonly family: Family
  /** Lower ones come first; several rules may share one. */
  readonly priority: number
  readonly action: RuleAction
  /** Of a lookup; 0 for other actions. */
  readonly table: number
  /** `not`: applies to what does not match. */
  readonly invert?: true
  readonly fwmark?: number
  /** Bits of the mark that count. */
  readonly fwmask?: number
  readonly source?: Cidr
  readonly destination?: Cidr
  /** Name of the device that it came in by; `lo` is what this host sends. */
  readonly iif?: string
  readonly oif?: string
  /** RTPROT_*: who put it there. */
  readonly protocol: number
  /** Results with a prefix of this length or less do not count. */
  readonly suppressPrefixLength?: number
  /** IPPROTO_*. */
  readonly ipProtocol?: number
  readonly sourcePorts?: PortRange
  readonly destinationPorts?: PortRange
  readonly tos?: number
  /** Whatever has no field above. */
  readonly other?: readonly OpaqueAttribute[]
}

/** A rule that looks up a table. With the kernel's own protocol number systemd-networkd leaves it alone. */
export const makeRule = (
  fields: Omit<Rule, 'action' | 'protocol'> & Partial<Pick<Rule, 'action' | 'protocol'>>,
): Rule => ({ action: 'lookup', protocol: RTPROT_KERNEL, ...fields })

/** Payload of RTM_NEWRULE and RTM_DELRULE. Equal rules give equal bytes. */
export function encodeRule(rule: Rule): Uint8Array {
  const { family, table, source, destination, fwmark = 0, fwmask = 0 } = rule
  const header = new Uint8Array(FIB_RULE_HDR)
  header.set([
    addressFamily(family),
    destination === undefined ? 0 : prefixLength(destination),
    source === undefined ? 0 : prefixLength(source),
    rule.tos ?? 0,
    // Tables above 255 are in FRA_TABLE alone.
    table < 256 ? table : 0,
    0,
    0,
    ACTIONS.indexOf(rule.action),
  ])
  if (rule.invert) header[8] = FIB_RULE_INVERT
  const writer = new AttributeWriter(128).raw(header)
  if (destination !== undefined) writer.binary(FRA_DST, wirePrefix(destination))
  if (source !== undefined) writer.binary(FRA_SRC, wirePrefix(source))
  if (rule.iif !== undefined) writer.string(FRA_IIFNAME, rule.iif)
  writer.u32(FRA_PRIORITY, rule.priority)
  if (fwmark !== 0 || fwmask !== 0) writer.u32(FRA_FWMARK, fwmark).u32(FRA_FWMASK, fwmask)
  if (rule.suppressPrefixLength !== undefined) writer.u32(FRA_SUPPRESS_PREFIXLEN, rule.suppressPrefixLength)
  if (table !== 0) writer.u32(FRA_TABLE, table)
  if (rule.oif !== undefined) writer.string(FRA_OIFNAME, rule.oif)
  writer.u8(FRA_PROTOCOL, rule.protocol)
  if (rule.ipProtocol !== undefined) writer.u8(FRA_IP_PROTO, rule.ipProtocol)
  if (rule.sourcePorts !== undefined) writePorts(writer, FRA_SPORT_RANGE, rule.sourcePorts)
  if (rule.destinationPorts !== undefined) writePorts(writer, FRA_DPORT_RANGE, rule.destinationPorts)
  writeOpaque(writer, rule.other)
  return writer.bytes()
}

/** Payload of an RTM_GETRULE dump. */
export function encodeRuleDump(family: Family): Uint8Array {
  const header = new Uint8Array(FIB_RULE_HDR)
  header[0] = addressFamily(family)
  return header
}

/** @returns undefined for a family other than IP, such as the rules of multicast routing @throws NetlinkFormatError */
export function parseRule(payload: Uint8Array): Rule | undefined {
  const header = fixedHeader(payload, FIB_RULE_HDR, 'rule')
  const family = ipFamily(header.getUint8(0))
  const action = ACTIONS[header.getUint8(7)]
  if (family === undefined || action === undefined) return undefined
  const attributes = new Map<number, Attribute>()
  const other: OpaqueAttribute[] = []
  for (const attribute of readAttributes(payload.subarray(FIB_RULE_HDR))) {
    if (KNOWN.has(attribute.type)) attributes.set(attribute.type, attribute)
    else other.push(opaque(attribute))
  }
  const destinationLength = header.getUint8(1)
  const sourceLength = header.getUint8(2)
  const tos = header.getUint8(3)
  const mark = attributes.get(FRA_FWMARK)
  const mask = attributes.get(FRA_FWMASK)
  const iif = attributes.get(FRA_IIFNAME)
  const oif = attributes.get(FRA_OIFNAME)
  // -1 is none.
  const suppress = attributes.get(FRA_SUPPRESS_PREFIXLEN)?.i32() ?? -1
  const ipProtocol = attributes.get(FRA_IP_PROTO)
  const sourcePorts = attributes.get(FRA_SPORT_RANGE)
  const destinationPorts = attributes.get(FRA_DPORT_RANGE)
  return {
    family,
    priority: attributes.get(FRA_PRIORITY)?.u32() ?? 0,
    action,
    table: attributes.get(FRA_TABLE)?.u32() ?? header.getUint8(4),
    ...((header.getUint32(8, true) & FIB_RULE_INVERT) !== 0 && { invert: true as const }),
    ...((mark ?? mask) !== undefined && { fwmark: mark?.u32() ?? 0, fwmask: mask?.u32() ?? 0xffff_ffff }),
    ...(sourceLength > 0 && { source: readPrefix(attributes.get(FRA_SRC), family, sourceLength) }),
    ...(destinationLength > 0 && { destination: readPrefix(attributes.get(FRA_DST), family, destinationLength) }),
    ...(iif !== undefined && { iif: iif.string() }),
    ...(oif !== undefined && { oif: oif.string() }),
    protocol: attributes.get(FRA_PROTOCOL)?.u8() ?? RTPROT_UNSPEC,
    ...(suppress >= 0 && { suppressPrefixLength: suppress }),
    ...(ipProtocol !== undefined && { ipProtocol: ipProtocol.u8() }),
    ...(sourcePorts !== undefined && { sourcePorts: readPorts(sourcePorts) }),
    ...(destinationPorts !== undefined && { destinationPorts: readPorts(destinationPorts) }),
    ...(tos !== 0 && { tos }),
    ...(other.length > 0 && { other }),
  }
}

/** Whether two rules are one to the kernel. */
export const sameRule = (a: Rule, b: Rule): boolean => ruleKey(a) === ruleKey(b)

/** The same text for rules that are the same to the kernel. */
export const ruleKey = (rule: Rule): string => Buffer.from(encodeRule(rule)).toString('latin1')

/**
 * Whether the kernel would take `candidate` when asked to delete `asked`: it compares only what the request names and
 * never looks at `invert` (rule_find of net/core/fib_rules.c), and deletes the first that fits.
 */
export function wouldDelete(asked: Rule, candidate: Rule): boolean {
  const named = (field: keyof Rule): boolean => !asked[field] || asked[field] === candidate[field]
  const ports = (a: PortRange | undefined, b: PortRange | undefined): boolean =>
    a === undefined || (a.first === b?.first && a.last === b.last)
  const fields = [
    'table',
    'fwmark',
    'fwmask',
    'source',
    'destination',
    'iif',
    'oif',
    'protocol',
    'ipProtocol',
    'tos',
  ] as const
  return (
    asked.family === candidate.family &&
    asked.priority === candidate.priority &&
    asked.action === candidate.action &&
    fields.every(named) &&
    (asked.suppressPrefixLength ?? candidate.suppressPrefixLength) === candidate.suppressPrefixLength &&
    ports(asked.sourcePorts, candidate.sourcePorts) &&
    ports(asked.destinationPorts, candidate.destinationPorts) &&
    (asked.other ?? []).every(({ type, value }) => candidate.other?.some(o => o.type === type && o.value === value))
  )
}

/** `rule 99 lookup 100`, for messages. */
export const describeRule = ({ family, priority, action, table }: Rule): string =>
  `IPv${family} rule ${priority} ${action}${action === 'lookup' ? ` ${table}` : ''}`

const KNOWN: ReadonlySet<number> = new Set([
  FRA_DST,
  FRA_SRC,
  FRA_IIFNAME,
  FRA_PRIORITY,
  FRA_FWMARK,
  FRA_SUPPRESS_PREFIXLEN,
  FRA_TABLE,
  FRA_FWMASK,
  FRA_OIFNAME,
  FRA_PAD,
  FRA_PROTOCOL,
  FRA_IP_PROTO,
  FRA_SPORT_RANGE,
  FRA_DPORT_RANGE,
])

/** struct fib_rule_port_range: two u16 in host order. */
function writePorts(writer: AttributeWriter, type: number, { first, last }: PortRange): void {
  writer.binary(type, Uint8Array.of(first & 0xff, first >>> 8, last & 0xff, last >>> 8))
}

function readPorts(attribute: Attribute): PortRange {
  const bytes = attribute.exactly(4)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return { first: view.getUint16(0, true), last: view.getUint16(2, true) }
}
