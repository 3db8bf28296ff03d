import type { Family } from '../ip.ts'
import { makeRoute, type Route, routeSlot, sameRoute } from '../rtnetlink/route.ts'
import { makeRule, type Rule, sameRule } from '../rtnetlink/rule.ts'
import type { DesiredRoute, DesiredRule } from './desired.ts'

export interface Difference<Thing> {
  readonly missing: readonly Thing[]
  readonly surplus: readonly Thing[]
}

/**
 * The route that the kernel is to hold.
 * @param indexOf index of the device of a name
 */
export function routeOf(desired: DesiredRoute, indexOf: (device: string) => number, protocol: number): Route {
  const { table, destination, type } = desired
  if (type === 'throw') return makeRoute({ table, destination, type, protocol })
  const { device, mtu, source } = desired
  return makeRoute({
    ...{ table, destination, type, protocol, device: indexOf(device) },
    ...(mtu !== undefined && { mtu }),
    ...(source !== undefined && { source }),
  })
}

export const ruleOf = (family: Family, desired: DesiredRule): Rule =>
  makeRule({
    family,
    priority: desired.priority,
    table: desired.table,
    ...(desired.invert && { invert: true as const }),
    ...(desired.fwmask !== 0 && { fwmark: desired.fwmark, fwmask: desired.fwmask }),
    ...(desired.source !== undefined && { source: desired.source }),
    ...(desired.outputInterface !== undefined && { oif: desired.outputInterface }),
    ...(desired.inputInterface !== undefined && { iif: desired.inputInterface }),
  })

/**
 * What to put and what to take away in our own tables. A route in the place of another is put, which replaces it in one
 * step; surplus is only what nothing takes the place of.
 * @param actual by routeSlot()
 */
export function diffRoutes(desired: readonly Route[], actual: ReadonlyMap<string, Route>): Difference<Route> {
  const slots = new Set<string>()
  const missing = desired.filter(route => {
    const slot = routeSlot(route)
    slots.add(slot)
    const there = actual.get(slot)
    return there === undefined || !sameRoute(route, there)
  })
  return { missing, surplus: [...actual].filter(([slot]) => !slots.has(slot)).map(([, route]) => route) }
}

/** @param actual all rules of the family that look up one of our tables */
export function diffRules(desired: readonly Rule[], actual: readonly Rule[]): Difference<Rule> {
  return {
    missing: desired.filter(rule => !actual.some(there => sameRule(rule, there))),
    surplus: actual.filter(there => !desired.some(rule => sameRule(rule, there))),
  }
}
