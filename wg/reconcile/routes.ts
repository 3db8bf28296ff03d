import type { Family } from '../ip.ts'
import { makeRoute, type Route, routeSlot, sameRoute } from '../rtnetlink/route.ts'
import { makeRule, type Rule, ruleKey } from '../rtnetlink/rule.ts'
import { sameInputs } from '../same-inputs.ts'
import { atOnce } from '../slices.ts'
import { Follower } from '../table.ts'
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

/** routeSlot() of the route that is desired. */
export const desiredSlot = ({ table, destination }: Pick<DesiredRoute, 'table' | 'destination'>): string =>
  routeSlot(makeRoute({ table, destination, type: 'throw', protocol: 0 }))

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
  const wanted = new Map(desired.map(route => [routeSlot(route), route]))
  return atOnce(compare(wanted, route => route, actual, new Set([...wanted.keys(), ...actual.keys()])))
}

/** Remembers what was compared, so that a look costs what has changed since the one before. */
export class RouteDifferences {
  readonly #desired = new Follower<string>()
  readonly #actual = new Follower<string>()
  #makings: readonly unknown[] = []

  /**
   * What diffRoutes() says, with a step for each route that is looked at. What is then written changes what there is, and is
   * looked at once more.
   * @param desired by desiredSlot(); routes by a device that is not there are passed over
   * @param actual by routeSlot()
   * @param indices of devices, by name
   */
  find(
    desired: ReadonlyMap<string, DesiredRoute>,
    actual: ReadonlyMap<string, Route>,
    indices: ReadonlyMap<string, number>,
    protocol: number,
  ): Generator<undefined, Difference<Route>> {
    const makings = [protocol, ...[...indices].flat()]
    const same = sameInputs(this.#makings, makings)
    this.#makings = makings
    const [wanted, seen] = [this.#desired.take(desired), this.#actual.take(actual)]
    const slots = same && wanted && seen ? wanted.union(seen) : new Set([...desired.keys(), ...actual.keys()])
    const indexOf = (device: string) => indices.get(device) ?? 0
    const make = (route: DesiredRoute) =>
      route.type === 'throw' || indexOf(route.device) > 0 ? routeOf(route, indexOf, protocol) : undefined
    return compare(desired, make, actual, slots)
  }
}

function* compare<Wanted>(
  desired: ReadonlyMap<string, Wanted>,
  make: (wanted: Wanted) => Route | undefined,
  actual: ReadonlyMap<string, Route>,
  slots: Iterable<string>,
): Generator<undefined, Difference<Route>> {
  const missing: Route[] = []
  const surplus: Route[] = []
  for (const slot of slots) {
    const [wanted, there] = [desired.get(slot), actual.get(slot)]
    const route = wanted && make(wanted)
    if (route && !(there && sameRoute(route, there))) missing.push(route)
    else if (!route && there) surplus.push(there)
    yield
  }
  return { missing, surplus }
}

/** @param actual all rules of the family that look up one of our tables */
export function diffRules(desired: readonly Rule[], actual: readonly Rule[]): Difference<Rule> {
  const [wanted, there] = [keyed(desired), keyed(actual)]
  const absentFrom = (others: Keyed) => {
    const keys = new Set(others.map(({ key }) => key))
    return ({ key }: Keyed[number]) => !keys.has(key)
  }
  return {
    missing: wanted.filter(absentFrom(there)).map(({ rule }) => rule),
    surplus: there.filter(absentFrom(wanted)).map(({ rule }) => rule),
  }
}

type Keyed = readonly { readonly key: string; readonly rule: Rule }[]

const keyed = (rules: readonly Rule[]): Keyed => rules.map(rule => ({ key: ruleKey(rule), rule }))
