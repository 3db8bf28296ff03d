import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseCidr } from '#wg/ip.ts'
import { encodeAddress, parseAddressMessage } from '#wg/rtnetlink/address.ts'
import { encodeLink, parseLink } from '#wg/rtnetlink/link.ts'
import { encodeRoute, makeRoute, parseRoute, routeSlot, sameRoute } from '#wg/rtnetlink/route.ts'
import { encodeRule, makeRule, parseRule, sameRule, wouldDelete } from '#wg/rtnetlink/rule.ts'
import { addresses, linkChanges, routes, rules } from './arbitraries.ts'

test('what is written of a link is what is read', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0x7fff_ffff }), linkChanges, (index, change) => {
      const { up = false, mtu = 0, ...rest } = change
      expect(parseLink(encodeLink(index, change))).toEqual({
        index,
        up,
        mtu,
        lowerUp: false,
        operState: 'unknown',
        ...rest,
      })
    }),
  )
})

test('what is written of an address is what is read', () => {
  fc.assert(
    fc.property(addresses, address => {
      expect(parseAddressMessage(encodeAddress(address))).toEqual(address)
    }),
  )
})

test('what is written of a route is what is read, attributes that nobody knows included', () => {
  fc.assert(
    fc.property(routes, route => {
      expect(parseRoute(encodeRoute(route))).toEqual(route)
    }),
    { numRuns: 500 },
  )
})

test('what is written of a rule is what is read, attributes that nobody knows included', () => {
  fc.assert(
    fc.property(rules, rule => {
      expect(parseRule(encodeRule(rule))).toEqual(rule)
    }),
    { numRuns: 500 },
  )
})

test('routes are the same exactly if the kernel is told the same', () => {
  fc.assert(
    fc.property(routes, routes, fc.boolean(), (a, b, mixed) => {
      const other = mixed ? { ...a, protocol: b.protocol, metric: b.metric } : b
      const toldTheSame = Buffer.compare(encodeRoute(a), encodeRoute(other)) === 0
      expect(sameRoute(a, other)).toBe(toldTheSame)
      expect(sameRoute(a, { ...a })).toBe(true)
    }),
  )
})

test('a rule would be deleted by a request for itself', () => {
  fc.assert(
    fc.property(rules, rule => {
      expect(wouldDelete(rule, rule)).toBe(true)
      expect(sameRule(rule, { ...rule })).toBe(true)
    }),
  )
})

test('a request that names less would delete a rule that says more', () => {
  const asked = makeRule({ family: 4, priority: 99, table: 100 })
  const foreign = { ...asked, source: parseCidr('10.0.0.0/8'), invert: true as const }
  expect(wouldDelete(asked, foreign)).toBe(true)
  expect(wouldDelete(foreign, asked)).toBe(false)
  expect(sameRule(asked, foreign)).toBe(false)
})

test('a route takes the place of one with the same table, destination and metric, and of no other', () => {
  const route = makeRoute({ table: 100, destination: parseCidr('10.0.0.0/8'), type: 'throw', protocol: 80 })
  expect(routeSlot({ ...route, type: 'unicast', device: 3 })).toBe(routeSlot(route))
  for (const change of [{ table: 101 }, { destination: parseCidr('10.0.0.0/9') }, { metric: 5 }])
    expect(routeSlot({ ...route, ...change })).not.toBe(routeSlot(route))
})

test('an IPv4-mapped IPv6 prefix stays one of IPv6', () => {
  const route = makeRoute({ table: 254, destination: parseCidr('::/96'), type: 'unreachable', protocol: 4 })
  const bytes = encodeRoute(route)
  // The 11th and 12th byte of RTA_DST, after struct rtmsg and the attribute's header.
  bytes[12 + 4 + 10] = 0xff
  bytes[12 + 4 + 11] = 0xff
  const mapped = parseRoute(bytes)
  expect(mapped?.destination).toBe('::ffff:0:0/96')
  expect(mapped && encodeRoute(mapped)).toEqual(bytes)
})
