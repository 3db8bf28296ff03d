import { addressFromBytes, type Cidr, cidrFromBytes, type Family, type IpAddress, parseExactCidr } from '#wg/ip.ts'
import type { Route, RouteType } from '#wg/rtnetlink/route.ts'
import type { Rule, RuleAction } from '#wg/rtnetlink/rule.ts'
import type { Random } from './random.ts'

/** Numbers of the kernel's headers, which `ip -N` prints. */
const ROUTE_TYPES = { unicast: 1, blackhole: 6, unreachable: 7, prohibit: 8, throw: 9 } as const satisfies Partial<
  Record<RouteType, number>
>
const RULE_ACTIONS = { lookup: 1, nop: 3, blackhole: 6, unreachable: 7, prohibit: 8 } as const satisfies Partial<
  Record<RuleAction, number>
>
const SCOPE_UNIVERSE = 0
const SCOPE_LINK = 253

/** What the device of these tests has: gateways lie in its networks, and preferred sources are its own. */
export const DEVICE = 't0'
export const OWN_ADDRESS: Readonly<Record<Family, IpAddress>> = {
  4: '192.168.0.1' as IpAddress,
  6: 'fd99::1' as IpAddress,
}
export const OWN_PREFIX: Readonly<Record<Family, number>> = { 4: 16, 6: 64 }

/** What `ip -json` shows of one object: texts and numbers; `metrics` alone is a list of objects. */
export type Shown = Readonly<Record<string, string | number | null | undefined>>

/** Routes to different destinations, so that none takes another's place. */
export function randomRoutes(random: Random, family: Family, table: number, count: number, device: number): Route[] {
  const routes = new Map<Cidr, Route>()
  for (let made = 0; made < count; made += 1) {
    const destination = randomDestination(random, family)
    const type = random.pick<keyof typeof ROUTE_TYPES>([
      'unicast',
      'unicast',
      'unicast',
      'throw',
      'blackhole',
      'unreachable',
      'prohibit',
    ])
    const gateway = type === 'unicast' && random.chance(3) ? randomGateway(random, family) : undefined
    routes.set(destination, {
      table,
      destination,
      type,
      protocol: random.between(5, 255),
      scope: family === 4 && type === 'unicast' && !gateway ? SCOPE_LINK : SCOPE_UNIVERSE,
      metric: random.between(1, 100_000),
      ...(type === 'unicast' && {
        device,
        ...(gateway && { gateway }),
        ...(random.chance(3) && { mtu: random.between(1_280, 9_000) }),
        ...(random.chance(4) && { source: OWN_ADDRESS[family] }),
      }),
    })
  }
  return [...routes.values()]
}

export function routeWords(route: Route): string {
  const { table, destination, type, protocol, scope, metric, device, gateway, mtu, source } = route
  const words = ['route', 'add', type, destination, 'table', table, 'proto', protocol, 'metric', metric]
  if (device !== undefined) words.push('dev', DEVICE, 'scope', scope)
  if (gateway !== undefined) words.push('via', gateway)
  if (mtu !== undefined) words.push('mtu', mtu)
  if (source !== undefined) words.push('src', source)
  return words.join(' ')
}

/** Of `ip -N -details -json route show`, what a Route says in the same form. */
export function routeOfIp(family: Family, table: number, device: number, shown: Shown): Route {
  const type = nameOf(ROUTE_TYPES, Number(shown.type))
  const [metrics] = (shown.metrics ?? []) as unknown as readonly { mtu?: number }[]
  const isUnicast = type === 'unicast'
  return {
    table,
    destination: destinationOf(family, String(shown.dst)),
    type,
    protocol: Number(shown.protocol),
    scope: family === 6 ? SCOPE_UNIVERSE : Number(shown.scope),
    metric: Number(shown.metric),
    ...(isUnicast && { device }),
    ...(shown.gateway !== undefined && { gateway: String(shown.gateway) as IpAddress }),
    ...(metrics?.mtu !== undefined && { mtu: metrics.mtu }),
    ...(shown.prefsrc !== undefined && { source: String(shown.prefsrc) as IpAddress }),
  }
}

/** @param first priority; different ones, so that their order is one only */
export function randomRules(random: Random, family: Family, count: number, first: number): Rule[] {
  return Array.from({ length: count }, (_, place) => {
    const action = random.pick<keyof typeof RULE_ACTIONS>([
      'lookup',
      'lookup',
      'lookup',
      'nop',
      'blackhole',
      'unreachable',
      'prohibit',
    ])
    const fwmark = random.chance(2) ? random.uint32() : undefined
    return {
      family,
      priority: first + place,
      action,
      table: action === 'lookup' ? random.between(1, 70_000) : 0,
      protocol: random.between(4, 255),
      ...(random.chance(3) && { invert: true as const }),
      ...(random.chance(3) && { source: randomDestination(random, family) }),
      ...(random.chance(3) && { destination: randomDestination(random, family) }),
      ...(random.chance(4) && { iif: random.pick(['lo', DEVICE, 'not-here-yet']) }),
      ...(random.chance(4) && { oif: random.pick(['lo', DEVICE, 'not-here-yet']) }),
      ...(fwmark !== undefined && { fwmark, fwmask: random.between(1, 0xffff_ffff) }),
      ...(action === 'lookup' && random.chance(4) && { suppressPrefixLength: random.below(33) }),
    }
  })
}

export function ruleWords(rule: Rule): string {
  const { priority, action, table, protocol, invert, source, destination, iif, oif, fwmark, fwmask } = rule
  const words: (string | number)[] = ['rule', 'add']
  if (invert) words.push('not')
  if (source !== undefined) words.push('from', source)
  if (destination !== undefined) words.push('to', destination)
  if (iif !== undefined) words.push('iif', iif)
  if (oif !== undefined) words.push('oif', oif)
  if (fwmark !== undefined && fwmask !== undefined) words.push('fwmark', `${fwmark}/${fwmask}`)
  words.push('priority', priority, 'protocol', protocol)
  if (rule.suppressPrefixLength !== undefined) words.push('suppress_prefixlength', rule.suppressPrefixLength)
  words.push(...(action === 'lookup' ? ['lookup', table] : [action]))
  return words.join(' ')
}

/** Of `ip -N -details -json rule show`, what a Rule says in the same form. */
export function ruleOfIp(family: Family, shown: Shown): Rule {
  const selector = (address: Shown[string], length: Shown[string]): Cidr | undefined =>
    address === undefined || address === 'all' ? undefined : withLength(family, String(address), length)
  const source = selector(shown.src, shown.srclen)
  const destination = selector(shown.dst, shown.dstlen)
  const action = actionOf(shown)
  return {
    family,
    priority: Number(shown.priority),
    action,
    table: action === 'lookup' ? Number(shown.table) : 0,
    protocol: Number(shown.protocol),
    ...(shown.not !== undefined && { invert: true as const }),
    ...(source !== undefined && { source }),
    ...(destination !== undefined && { destination }),
    ...(shown.iif !== undefined && { iif: String(shown.iif) }),
    ...(shown.oif !== undefined && { oif: String(shown.oif) }),
    // Without a mask it counts whole.
    ...(shown.fwmark !== undefined && { fwmark: Number(shown.fwmark), fwmask: Number(shown.fwmask ?? 0xffff_ffff) }),
    ...(shown.suppress_prefixlen !== undefined && { suppressPrefixLength: Number(shown.suppress_prefixlen) }),
  }
}

function actionOf({ action, nop, table }: Shown): RuleAction {
  if (nop !== undefined) return 'nop'
  return action === undefined && table !== undefined ? 'lookup' : nameOf(RULE_ACTIONS, Number(action))
}

function randomDestination(random: Random, family: Family): Cidr {
  return family === 4
    ? cidrFromBytes(Uint8Array.of(10, ...random.bytes(3)), random.between(9, 32))
    : cidrFromBytes(Uint8Array.of(0xfd, ...random.bytes(15)), random.between(9, 128))
}

function randomGateway(random: Random, family: Family): IpAddress {
  const host = random.between(2, 250)
  return family === 4
    ? addressFromBytes(Uint8Array.of(192, 168, random.below(256), host))
    : addressFromBytes(Uint8Array.of(0xfd, 0x99, ...new Uint8Array(12), random.below(256), host))
}

const destinationOf = (family: Family, text: string): Cidr =>
  text === 'default' ? parseExactCidr(family === 4 ? '0.0.0.0/0' : '::/0') : withLength(family, text, undefined)

/** `ip` leaves the full length away. */
const withLength = (family: Family, text: string, length: Shown[string]): Cidr =>
  parseExactCidr(text.includes('/') ? text : `${text}/${length ?? (family === 4 ? 32 : 128)}`)

function nameOf<Name extends string>(names: Readonly<Record<Name, number>>, number: number): Name {
  const found = (Object.keys(names) as Name[]).find(name => names[name] === number)
  if (found === undefined) throw new Error(`ip shows the number ${number}, which no test has written`)
  return found
}
