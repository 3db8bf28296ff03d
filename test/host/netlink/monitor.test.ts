import { expect, test, vi } from 'vitest'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { type RouteEvent, RouteMonitor } from '#wg/rtnetlink/monitor.ts'
import { makeRoute, type Route } from '#wg/rtnetlink/route.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { describeInNamespaces, Namespace } from './namespace.ts'

const STORM = 20_000
const TABLE = 4000
const LIMIT = { timeout: 20_000, interval: 20 }

interface Watch {
  readonly events: RouteEvent[]
  overruns: number
}

function watch(monitor: RouteMonitor): Watch {
  const seen: Watch = { events: [], overruns: 0 }
  monitor.on('event', event => seen.events.push(event))
  monitor.on('overrun', () => seen.overruns++)
  return seen
}

/** Words for `ip -batch` that make that many routes. */
const storm = (device: string): string =>
  Array.from(
    { length: STORM },
    (_, n) => `route add 10.${n >>> 16}.${(n >>> 8) & 255}.${n & 255} dev ${device} table ${TABLE}\n`,
  ).join('')

describeInNamespaces('events', () => {
  test('what somebody else changes about links, addresses, routes and rules is told', async () => {
    using namespace = new Namespace()
    using monitor = RouteMonitor.openIn(namespace.path)
    const { events } = watch(monitor)
    namespace.addDevice('t0')
    const objects = [
      'address # 10.9.0.1/32 dev t0',
      'address # fd00::1/128 dev t0',
      `route # 10.1.0.0/24 dev t0 table ${TABLE}`,
      `-6 route # fd01::/64 dev t0 table ${TABLE}`,
      `rule # fwmark 1 lookup ${TABLE} priority 99`,
      `-6 rule # fwmark 1 lookup ${TABLE} priority 99`,
    ]
    for (const object of objects) namespace.ip(object.replace('#', 'add'))
    // The other way round: the last IPv4 address takes the device's IPv4 routes with it.
    for (const object of objects.toReversed()) namespace.ip(object.replace('#', 'del'))
    namespace.ip('link del t0')
    await vi.waitFor(() => {
      for (const change of ['added', 'removed'] as const) {
        const told = (kind: string, object: object): unknown =>
          expect(events).toContainEqual({ kind, change, object: expect.objectContaining(object) })
        told('link', { name: 't0' })
        told('address', { address: parseAddress('10.9.0.1') })
        told('address', { address: parseAddress('fd00::1') })
        told('route', { destination: parseCidr('10.1.0.0/24'), table: TABLE })
        told('route', { destination: parseCidr('fd01::/64'), table: TABLE })
        told('rule', { family: 4, priority: 99, table: TABLE })
        told('rule', { family: 6, priority: 99, table: TABLE })
      }
    }, LIMIT)
    expect(monitor.malformed).toBe(0)
  })

  test('IPv4 routes that go with the last address of their device are not told, as the monitor says', async () => {
    using namespace = new Namespace()
    namespace.addDevice('t0')
    namespace.ip('address add 10.9.0.1/32 dev t0')
    namespace.ip(`route add 10.1.0.0/24 dev t0 table ${TABLE}`)
    using monitor = RouteMonitor.openIn(namespace.path)
    const { events } = watch(monitor)
    namespace.ip('address del 10.9.0.1/32 dev t0')
    namespace.ip(`rule add fwmark 1 lookup ${TABLE} priority 99`)
    await vi.waitFor(() => expect(events.at(-1)?.kind).toBe('rule'), LIMIT)
    using netlink = RouteNetlink.openIn(namespace.path)
    expect(await netlink.routes({ family: 4, table: TABLE })).toEqual([])
    const told = events.filter(({ kind, object }) => kind === 'route' && 'table' in object && object.table === TABLE)
    expect(told).toEqual([])
  })

  test('a port that leaves a bridge is not told as a link that is removed', async () => {
    using namespace = new Namespace()
    namespace.ip('link add b0 type bridge')
    namespace.ip('link add v0 type veth peer name v1')
    using monitor = RouteMonitor.openIn(namespace.path)
    const { events } = watch(monitor)
    namespace.ip('link set v0 master b0')
    namespace.ip('link set v0 nomaster')
    namespace.ip('link set v0 mtu 1400')
    await vi.waitFor(() => {
      expect(events).toContainEqual(expect.objectContaining({ object: expect.objectContaining({ mtu: 1400 }) }))
    }, LIMIT)
    expect(events.filter(({ kind, change }) => kind === 'link' && change === 'removed')).toEqual([])
  })

  test(`${STORM} routes at once are all told while the event loop is free`, async () => {
    using namespace = new Namespace()
    namespace.addDevice('t0')
    using monitor = RouteMonitor.openIn(namespace.path)
    const seen = watch(monitor)
    using netlink = RouteNetlink.openIn(namespace.path)
    const link = await netlink.link('t0')
    const routes = Array.from(
      { length: STORM },
      (_, n): Route =>
        makeRoute({
          table: TABLE,
          destination: parseCidr(`10.${n >>> 16}.${(n >>> 8) & 255}.${n & 255}`),
          type: 'unicast',
          ...(link && { device: link.index }),
          protocol: 80,
        }),
    )
    const errors = await netlink.applyRoutes(routes.map(route => ({ op: 'replace', route })))
    expect(errors.filter(error => error !== undefined)).toEqual([])
    await vi.waitFor(() => expect(seen.events).toHaveLength(STORM), LIMIT)
    expect(seen.overruns).toBe(0)
  })

  test('a storm that the buffer cannot hold is told as an overrun, and what is read then is right', async () => {
    using namespace = new Namespace()
    namespace.addDevice('t0')
    using monitor = RouteMonitor.open({ netnsPath: namespace.path, receiveBuffer: 64 * 1024 })
    const seen = watch(monitor)
    // Blocks the event loop until all routes are there.
    namespace.ip('-batch -', storm('t0'))
    await vi.waitFor(() => expect(seen.overruns).toBeGreaterThan(0), LIMIT)
    expect(seen.events.length).toBeLessThan(STORM)
    using netlink = RouteNetlink.openIn(namespace.path)
    expect(await netlink.routes({ family: 4, table: TABLE })).toHaveLength(STORM)

    namespace.ip(`route add 192.0.2.1 dev t0 table ${TABLE}`)
    await vi.waitFor(() => {
      const object = expect.objectContaining({ destination: parseCidr('192.0.2.1') })
      expect(seen.events).toContainEqual({ kind: 'route', change: 'added', object })
    }, LIMIT)
  })
})
