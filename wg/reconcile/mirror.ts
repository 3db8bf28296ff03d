import { type Family, familyOf } from '../ip.ts'
import type { Link } from '../rtnetlink/link.ts'
import type { Change, RouteEvent } from '../rtnetlink/monitor.ts'
import { describeRoute, type Route, routeSlot, sameRoute } from '../rtnetlink/route.ts'
import { describeRule, type Rule, sameRule } from '../rtnetlink/rule.ts'
import { Table } from '../table.ts'
import type { Ownership } from './desired.ts'
import { DeviceMirror } from './device-mirror.ts'

/**
 * What an event amounts to. `look-again`: it contradicts what is known of a link, but may be the late echo of something
 * that we changed since; only the kernel can tell.
 */
export type Verdict = 'expected' | { readonly lookAgain: Link } | { readonly foreign: string }

/**
 * What the kernel holds of one family, as far as we know: read from it, then kept up with our own writes (noted before
 * they are sent) and with its events, so that an event which contradicts it is somebody else's doing.
 */
export class Mirror {
  readonly ownership: Ownership
  readonly devices: ReadonlyMap<string, DeviceMirror>
  /** By routeSlot(); changed by putRoute() and dropRoute() alone. */
  readonly #routes = new Table<string, Route>()
  rules: Rule[] = []
  /** Rules of the family that look up none of our tables, as they were when the kernel was read. */
  otherRules: readonly Rule[] = []

  constructor(ownership: Ownership) {
    this.ownership = ownership
    this.devices = new Map([...ownership.deviceNames].map(name => [name, new DeviceMirror(name)]))
  }

  /** By routeSlot(). Live, for those who follow what changes. */
  get routes(): ReadonlyMap<string, Route> {
    return this.#routes
  }

  /** Another number after each change of a route. */
  get routesVersion(): number {
    return this.#routes.edition
  }

  putRoute(route: Route): void {
    this.#routes.set(routeSlot(route), route)
  }

  dropRoute(route: Route): void {
    this.#routes.delete(routeSlot(route))
  }

  /** Takes in an event. @returns whose doing it was; `foreign` says what, in words */
  noteEvent(event: RouteEvent): Verdict {
    switch (event.kind) {
      case 'link':
        return this.#noteLink(event.change, event.object)
      case 'address': {
        const { address, ifindex } = event.object
        const device = this.#deviceOf(ifindex)
        if (!device || event.change !== 'removed') return 'expected'
        return device.addresses.delete(address) ? { foreign: `removed address ${address}` } : 'expected'
      }
      case 'route':
        return this.#owns(event.object.table, familyOf(event.object.destination))
          ? this.#noteRoute(event.change, event.object)
          : 'expected'
      case 'rule':
        return this.#owns(event.object.table, event.object.family)
          ? this.#noteRule(event.change, event.object)
          : 'expected'
    }
  }

  #owns(table: number, family: Family): boolean {
    return family === this.ownership.family && this.ownership.tables.has(table)
  }

  #deviceOf(ifindex: number): DeviceMirror | undefined {
    return [...this.devices.values()].find(({ link }) => link?.index === ifindex)
  }

  #noteLink(change: Change, link: Link): Verdict {
    const device = this.devices.get(link.name) ?? this.#deviceOf(link.index)
    const before = device?.link
    if (change === 'removed') return before?.index === link.index ? { foreign: `deleted ${link.name}` } : 'expected'
    if (before === undefined) return 'expected'
    const same =
      before.name === link.name && before.index === link.index && before.up === link.up && before.mtu === link.mtu
    return same ? 'expected' : { lookAgain: before }
  }

  #noteRoute(change: Change, route: Route): Verdict {
    const there = this.#routes.get(routeSlot(route))
    const same = there !== undefined && sameRoute(there, route)
    if (change === 'removed' ? !same : same) return 'expected'
    if (change === 'removed') this.dropRoute(route)
    else this.putRoute(route)
    return { foreign: `${change} route ${describeRoute(route)}` }
  }

  #noteRule(change: Change, rule: Rule): Verdict {
    const there = this.rules.some(known => sameRule(known, rule))
    if (there === (change === 'added')) return 'expected'
    this.rules = change === 'added' ? [...this.rules, rule] : this.rules.filter(known => !sameRule(known, rule))
    return { foreign: `${change} ${describeRule(rule)}` }
  }
}
