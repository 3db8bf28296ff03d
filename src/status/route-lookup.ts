import { cidrContains, familyOf, type IpAddress, prefixLength } from '#wg/ip.ts'
import type { Route } from '#wg/rtnetlink/route.ts'
import type { Rule } from '#wg/rtnetlink/rule.ts'

/** A packet, as far as routing looks at it. */
export interface Flow {
  readonly from: IpAddress
  readonly to: IpAddress
  /** Sent by this host itself, not forwarded. */
  readonly local: boolean
}

export interface RouteDecision {
  /** The rule that decided, and the route that it led to; undefined when nothing leads there. */
  readonly rule: Rule | undefined
  readonly route: Route | undefined
  /** Rules that matched and decided nothing: their table has a throw route for it, or none at all. */
  readonly passedOver: readonly { readonly rule: Rule; readonly route: Route | undefined }[]
  /** Rules that look at more than is known of the packet: an interface, a port. Taken not to match. */
  readonly unjudged: readonly Rule[]
}

/**
 * The way of a packet, worked out from rules and routes as they were dumped: the kernel's own order, longest prefix
 * first. Of next hops with equal cost it names one route; marks that a packet filter sets on the way are not seen.
 */
export function lookUp(
  flow: Flow,
  rules: readonly Rule[],
  routes: ReadonlyMap<number, readonly Route[]>,
): RouteDecision {
  const passedOver: { rule: Rule; route: Route | undefined }[] = []
  const unjudged: Rule[] = []
  for (const rule of rules) {
    const matches = matchOf(rule, flow)
    if (matches === 'unknown') unjudged.push(rule)
    if (matches !== true || rule.action === 'nop') continue
    if (rule.action !== 'lookup') return { rule, route: undefined, passedOver, unjudged }
    const route = longest(routes.get(rule.table) ?? [], flow)
    const suppressed = route !== undefined && prefixLength(route.destination) <= (rule.suppressPrefixLength ?? -1)
    if (route && route.type !== 'throw' && !suppressed) return { rule, route, passedOver, unjudged }
    passedOver.push({ rule, route })
  }
  return { rule: undefined, route: undefined, passedOver, unjudged }
}

function matchOf(rule: Rule, { from, to, local }: Flow): boolean | 'unknown' {
  if (rule.family !== familyOf(to)) return false
  const { source, destination, fwmark = 0, fwmask = 0, iif, oif } = rule
  // The packet carries no mark yet.
  const hasMark = (0 & fwmask) === (fwmark & fwmask)
  if (!hasMark && rule.invert !== true) return false
  const looksElsewhere =
    rule.ipProtocol !== undefined ||
    rule.sourcePorts !== undefined ||
    rule.destinationPorts !== undefined ||
    (rule.tos ?? 0) !== 0 ||
    (rule.other ?? []).length > 0 ||
    (iif !== undefined && iif !== 'lo' && !local)
  if (looksElsewhere) return 'unknown'
  const selected =
    (source === undefined || cidrContains(source, from)) &&
    (destination === undefined || cidrContains(destination, to)) &&
    hasMark &&
    // Only a socket that is bound to a device has an outgoing one before it is routed.
    oif === undefined &&
    (iif === undefined || (iif === 'lo') === local)
  return selected !== (rule.invert ?? false)
}

function longest(routes: readonly Route[], { from, to }: Flow): Route | undefined {
  return routes
    .filter(({ destination, from: only }) => cidrContains(destination, to) && (!only || cidrContains(only, from)))
    .sort((a, b) => prefixLength(b.destination) - prefixLength(a.destination) || a.metric - b.metric)[0]
}
