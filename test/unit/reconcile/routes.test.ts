import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Cidr, parseCidr } from '#wg/ip.ts'
import type { DesiredRoute, DesiredRule } from '#wg/reconcile/desired.ts'
import { desiredSlot, diffRoutes, diffRules, RouteDifferences, routeOf, ruleOf } from '#wg/reconcile/routes.ts'
import { type Route, routeSlot } from '#wg/rtnetlink/route.ts'
import { type Rule, sameRule } from '#wg/rtnetlink/rule.ts'
import { atOnce } from '#wg/slices.ts'
import { Table } from '#wg/table.ts'

const DEVICE = 7
const RTPROT_KERNEL = 2
const PROTOCOL = 80

const route = (
  fields: { type?: 'unicast' | 'throw'; mtu?: number; table?: number; destination?: Cidr } = {},
  device = DEVICE,
): Route => {
  const { type = 'unicast', mtu, table = 1, destination = parseCidr('10.244.2.0/24') } = fields
  const to = { table, destination }
  const desired: DesiredRoute =
    type === 'throw' ? { ...to, type } : { ...to, type, device: 'wg0', ...(mtu !== undefined && { mtu }) }
  return routeOf(desired, () => device, PROTOCOL)
}

const rule = (fields: Partial<DesiredRule> = {}): Rule =>
  ruleOf(4, {
    ...{ priority: 99, table: 1, invert: true, fwmark: 0x200000, fwmask: 0x200000 },
    ...{ source: undefined, outputInterface: undefined },
    ...fields,
  })

const table = (...routes: Route[]): Map<string, Route> => new Map(routes.map(one => [routeSlot(one), one]))

describe('routes', () => {
  test.each<[string, Route[], Route[], Route[], Route[]]>([
    ['as they must be are not touched', [route()], [route()], [], []],
    ['that are missing are put', [route()], [], [route()], []],
    ['that nobody wants are taken away', [], [route()], [], [route()]],
    [
      'from throw to unicast are put in the place of the other, which is not taken away first',
      [route()],
      [route({ type: 'throw' })],
      [route()],
      [],
    ],
    ['to a device that was made anew are put again', [route()], [route({}, 6)], [route()], []],
    ['with another MTU are put', [route({ mtu: 1300 })], [route()], [route({ mtu: 1300 })], []],
    ['by somebody else’s protocol are put', [route()], [{ ...route(), protocol: 3 }], [route()], []],
    [
      'beside ours with another metric are taken away',
      [route()],
      [route(), { ...route(), metric: 50 }],
      [],
      [{ ...route(), metric: 50 }],
    ],
  ])('%s', (_, desired, actual, missing, surplus) => {
    expect(diffRoutes(desired, table(...actual))).toEqual({ missing, surplus })
  })

  test('a throw has no device, whatever the device is', () => {
    expect(route({ type: 'throw' }).device).toBeUndefined()
    expect(diffRoutes([route({ type: 'throw' })], table(route({ type: 'throw' }, 6))).missing).toEqual([])
  })

  const some = fc
    .uniqueArray(
      fc.record({
        destination: fc.constantFrom(
          ...['10.244.1.0/24', '10.244.2.0/24', '10.244.0.0/16', 'fd00::/64'].map(parseCidr),
        ),
        table: fc.constantFrom(1, 2, 300),
        type: fc.constantFrom('unicast' as const, 'throw' as const),
        device: fc.constantFrom(6, DEVICE),
      }),
      { selector: ({ destination, table: number }) => `${destination} ${number}` },
    )
    .map(all => all.map(({ device, ...fields }) => route(fields, device)))

  test('what is put and taken away makes the one of the other, and a destination that both have is never without a route', () => {
    fc.assert(
      fc.property(some, some, (desired, there) => {
        const actual = table(...there)
        const { missing, surplus } = diffRoutes(desired, actual)
        const both = desired.map(routeSlot).filter(slot => actual.has(slot))
        for (const one of missing) actual.set(routeSlot(one), one)
        for (const one of surplus) {
          actual.delete(routeSlot(one))
          for (const slot of both) expect(actual.has(slot)).toBe(true)
        }
        expect(actual).toEqual(table(...desired))
        expect(diffRoutes(desired, actual)).toEqual({ missing: [], surplus: [] })
      }),
    )
  })
  const desiredRoute = fc
    .record({
      destination: fc.constantFrom(...['10.244.1.0/24', '10.244.2.0/24', '10.244.3.0/24'].map(parseCidr)),
      type: fc.constantFrom('unicast' as const, 'throw' as const),
      device: fc.constantFrom('wg0', 'wg1'),
    })
    .map(({ destination, type, device }): DesiredRoute => {
      const to = { table: 1, destination }
      return type === 'throw' ? { ...to, type } : { ...to, type, device }
    })

  test('are found to differ by a look at what has changed alone, as by a look at all', () => {
    const happening = fc.record({
      change: fc.constantFrom('want' as const, 'want no more' as const, 'put' as const, 'take away' as const),
      route: desiredRoute,
      index: fc.constantFrom(0, 6, DEVICE),
    })
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 20 }), happenings => {
        const [desired, actual] = [new Table<string, DesiredRoute>(), new Table<string, Route>()]
        const differences = new RouteDifferences()
        for (const { change, route: one, index } of happenings) {
          const indices = new Map([
            ['wg0', DEVICE],
            ['wg1', index],
          ])
          const indexOf = (device: string) => indices.get(device) ?? 0
          const made = routeOf(one, () => 6, PROTOCOL)
          if (change === 'want') desired.set(desiredSlot(one), one)
          else if (change === 'want no more') desired.delete(desiredSlot(one))
          else if (change === 'put') actual.set(routeSlot(made), made)
          else actual.delete(routeSlot(made))
          const there = [...desired.values()].filter(wanted => wanted.type === 'throw' || indexOf(wanted.device) > 0)
          const found = atOnce(differences.find(desired, actual, indices, PROTOCOL))
          const all = diffRoutes(
            there.map(wanted => routeOf(wanted, indexOf, PROTOCOL)),
            actual,
          )
          expect([new Set(found.missing), new Set(found.surplus)]).toEqual([new Set(all.missing), new Set(all.surplus)])
          for (const missing of found.missing) actual.set(routeSlot(missing), missing)
          for (const surplus of found.surplus) actual.delete(routeSlot(surplus))
        }
      }),
    )
  })
})

describe('rules', () => {
  test.each<[string, Rule[], Rule[], Rule[], Rule[]]>([
    ['as they must be are not touched', [rule()], [rule()], [], []],
    [
      'at another priority come before the old one goes',
      [rule({ priority: 100 })],
      [rule()],
      [rule({ priority: 100 })],
      [rule()],
    ],
    [
      'of somebody else in our table go',
      [rule()],
      [rule(), rule({ fwmark: 1, fwmask: 1 })],
      [],
      [rule({ fwmark: 1, fwmask: 1 })],
    ],
    [
      'without our protocol are not ours',
      [rule()],
      [{ ...rule(), protocol: 3 }],
      [rule()],
      [{ ...rule(), protocol: 3 }],
    ],
  ])('%s', (_, desired, actual, missing, surplus) => {
    expect(diffRules(desired, actual)).toEqual({ missing, surplus })
  })

  test('are the kernel’s own by their protocol, so that no network manager removes them as foreign', () => {
    expect(rule().protocol).toBe(RTPROT_KERNEL)
  })

  const some = fc
    .array(
      fc.record({
        priority: fc.constantFrom(98, 99, 100),
        table: fc.constantFrom(1, 2, 3),
        invert: fc.boolean(),
        fwmask: fc.constantFrom(0, 0x200000),
        source: fc.constantFrom(undefined, parseCidr('10.244.1.0/24')),
        outputInterface: fc.constantFrom(undefined, 'wireguard.cali'),
      }),
    )
    .map(all => all.map(rule))
    .map(all => all.filter((one, index) => all.findIndex(other => sameRule(one, other)) === index))

  test('what is added and removed makes the one of the other', () => {
    fc.assert(
      fc.property(some, some, (desired, actual) => {
        const { missing, surplus } = diffRules(desired, actual)
        const after = [...actual, ...missing].filter(one => !surplus.includes(one))
        expect(diffRules(desired, after)).toEqual({ missing: [], surplus: [] })
        expect(after).toHaveLength(desired.length)
      }),
    )
  })
})
