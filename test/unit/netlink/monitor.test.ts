import { expect, test } from 'vitest'
import { parseCidr } from '#wg/ip.ts'
import type { NetlinkFormatError } from '#wg/netlink/errors.ts'
import { encodeMessage } from '#wg/netlink/message.ts'
import { encodeLink } from '#wg/rtnetlink/link.ts'
import { type RouteEvent, RouteMonitor } from '#wg/rtnetlink/monitor.ts'
import { encodeRoute, makeRoute } from '#wg/rtnetlink/route.ts'
import { KernelDouble } from './kernel-double.ts'

const RTM_NEWLINK = 16
const RTM_NEWROUTE = 24
const RTM_DELROUTE = 25
const RTM_NEWNEIGH = 28

const route = makeRoute({ table: 100, destination: parseCidr('10.0.0.0/8'), type: 'throw', protocol: 80 })
const notification = (type: number, payload: Uint8Array): Uint8Array => encodeMessage({ type, flags: 0, payload }, 0)

function watch(): {
  kernel: KernelDouble
  monitor: RouteMonitor
  events: RouteEvent[]
  refused: NetlinkFormatError[]
  overruns: () => number
} {
  const kernel = new KernelDouble()
  const monitor = new RouteMonitor(kernel)
  const events: RouteEvent[] = []
  const refused: NetlinkFormatError[] = []
  let overruns = 0
  monitor.on('event', event => events.push(event))
  monitor.on('malformed', error => refused.push(error))
  monitor.on('overrun', () => overruns++)
  return { kernel, monitor, events, refused, overruns: () => overruns }
}

test('says what was added and what was removed', () => {
  const { kernel, events } = watch()
  kernel.receive([notification(RTM_NEWROUTE, encodeRoute(route))])
  kernel.receive([notification(RTM_DELROUTE, encodeRoute(route))])
  expect(events).toEqual([
    { kind: 'route', change: 'added', object: route },
    { kind: 'route', change: 'removed', object: route },
  ])
})

test('a malformed message is counted and reported, and the next one is heard', () => {
  const { kernel, monitor, events, refused } = watch()
  kernel.receive([
    notification(RTM_NEWROUTE, Uint8Array.of(2, 0, 0)),
    notification(RTM_NEWLINK, encodeLink(3, { name: 'a' })),
  ])
  kernel.receive([Uint8Array.of(1, 2, 3)])
  kernel.receive([notification(RTM_NEWROUTE, encodeRoute(route))])
  expect(monitor.malformed).toBe(2)
  expect(refused).toHaveLength(2)
  expect(events.map(({ kind }) => kind)).toEqual(['link', 'route'])
})

test('an overrun is told, and what follows is heard', () => {
  const { kernel, events, overruns } = watch()
  kernel.overrun()
  kernel.receive([notification(RTM_NEWROUTE, encodeRoute(route))])
  expect(overruns()).toBe(1)
  expect(events).toHaveLength(1)
})

test('what another process sends is not believed', () => {
  const { kernel, events } = watch()
  kernel.receive([notification(RTM_NEWROUTE, encodeRoute(route))], 4711)
  expect(events).toEqual([])
})

test('messages about anything else are passed over', () => {
  const { kernel, monitor, events } = watch()
  kernel.receive([notification(RTM_NEWNEIGH, new Uint8Array(12))])
  expect(events).toEqual([])
  expect(monitor.malformed).toBe(0)
})
