import { expect, test } from 'vitest'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { readAttributes } from '#wg/netlink/attributes.ts'
import { encodeMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST } from '#wg/netlink/message.ts'
import { encodeAddress, parseAddressMessage } from '#wg/rtnetlink/address.ts'
import { encodeLink, parseLink } from '#wg/rtnetlink/link.ts'
import { encodeRoute, makeRoute, parseRoute } from '#wg/rtnetlink/route.ts'
import { encodeRule, makeRule, parseRule } from '#wg/rtnetlink/rule.ts'

// Captured from iproute2 6.1 (what it sends) and Linux 6.18 (what it answers).

const bytes = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
const hex = (payload: Uint8Array): string => Buffer.from(payload).toString('hex')

/** The header and the attributes by type: programs differ in their order, and in whether a nest is flagged as one. */
const content = (payload: Uint8Array, header: number): unknown => ({
  header: hex(payload.subarray(0, header)),
  attributes: Object.fromEntries(
    readAttributes(payload.subarray(header)).map(attribute => [attribute.type, hex(attribute.payload)]),
  ),
})

const DEVICE_ROUTE = makeRoute({
  table: 4000,
  destination: parseCidr('10.1.0.0/24'),
  type: 'unicast',
  device: 2,
  protocol: 80,
  mtu: 1380,
})
const THROW = makeRoute({ table: 4000, destination: parseCidr('10.0.0.0/8'), type: 'throw', protocol: 80 })
const THROW_V6 = makeRoute({ table: 4000, destination: parseCidr('fd00::/8'), type: 'throw', protocol: 80 })
const STEERING = makeRule({
  family: 4,
  priority: 99,
  table: 4000,
  invert: true,
  fwmark: 0x100000,
  fwmask: 0x100000,
})

test('a message has its header in front, as in netlink(7)', () => {
  const request = {
    type: 24,
    flags: NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
    payload: Uint8Array.of(1),
  }
  expect(hex(encodeMessage(request, 0x6b03135a))).toBe('11000000180005055a13036b0000000001000000')
})

test('a route on a device with an MTU is written as `ip route replace` writes it', () => {
  const captured = bytes(
    '0218000000 50fd0100000000 08000100 0a010000 08000f00 a00f0000 08000400 02000000 0c000800 0800020064050000',
  )
  expect(content(encodeRoute(DEVICE_ROUTE), 12)).toEqual(content(captured, 12))
})

test('a throw route is written as `ip route replace throw` writes it', () => {
  const captured = bytes('0208000000 50000900000000 08000100 0a000000 08000f00 a00f0000')
  expect(content(encodeRoute(THROW), 12)).toEqual(content(captured, 12))
})

test('a rule is written as `ip rule add not fwmark` writes it', () => {
  // iproute2 adds an empty FRA_SRC for `from all`.
  const captured = bytes(
    '020000000000000102000000 08000a0000001000 0800100000001000 08000f00a00f0000 0800060063000000 0500150002000000',
  )
  expect(content(encodeRule(STEERING), 12)).toEqual(content(captured, 12))
})

test('an address is written as `ip address add` writes it', () => {
  const captured = bytes('0220000002000000 08000200 0a090001 08000100 0a090001')
  const encoded = encodeAddress({ ifindex: 2, address: parseAddress('10.9.0.1'), prefixLength: 32 })
  expect(hex(encoded)).toBe(hex(captured))
})

test('bringing a link up changes that flag alone', () => {
  expect(hex(encodeLink(7, { up: true }))).toBe('00000000070000000100000001000000')
  expect(hex(encodeLink(7, { up: false }))).toBe('00000000070000000000000001000000')
})

test("the kernel's routes are read as they were written", () => {
  const route = bytes(
    '02180000fc50fd01 00000000 08000f00a00f0000 080001000a010000 0c0008000800020064050000 0800040002000000',
  )
  const throwRoute = bytes('02080000fc500009 00000000 08000f00a00f0000 080001000a000000')
  expect(parseRoute(route)).toEqual(DEVICE_ROUTE)
  expect(parseRoute(throwRoute)).toEqual(THROW)
})

test('an IPv6 throw route, which the kernel shows on the loopback device with an age, is the one that was written', () => {
  const captured =
    bytes(`0a080000fc50000900000000 08000f00a00f0000 14000100fd000000000000000000000000000000 0800060000040000
    0800040001000000 24000c000000000000000000000000000000000000000000000000000000000000000000 0500140000000000`)
  expect(parseRoute(captured)).toEqual(THROW_V6)
})

test("the kernel's rules are read as they were written", () => {
  const captured = bytes(`02000000fc00000102000000 08000f00a00f0000 08000e00ffffffff 0500150002000000 0800060063000000
    08000a0000001000 0800100000001000`)
  expect(parseRule(captured)).toEqual(STEERING)
})

test("the kernel's addresses are read", () => {
  const captured = bytes(`0220800002000000 080001000a090001 080002000a090001 0700030074300000 0800080080000000
    14000600ffffffffffffffffa26a0300a26a0300`)
  expect(parseAddressMessage(captured)).toEqual({
    ifindex: 2,
    address: '10.9.0.1',
    prefixLength: 32,
    scope: 0,
    flags: 0x80,
    label: 't0',
  })
})

test("the kernel's links are read", () => {
  const captured =
    bytes(`0000010002000000c300010000000000 0700030074300000 08000d0020000000 0500100000000000 0800040078050000
    0a00140068656c6c6f000000 0c0012000800010069666200`)
  expect(parseLink(captured)).toEqual({
    index: 2,
    name: 't0',
    kind: 'ifb',
    mtu: 1400,
    up: true,
    lowerUp: true,
    operState: 'unknown',
    alias: 'hello',
  })
})

test('a message about a bridge port is not about a link', () => {
  const captured = bytes('0700010002000000c300010000000000 0700030074300000')
  expect(parseLink(captured)).toBeUndefined()
})

test('next hops of a multipath route are kept as they came', () => {
  const captured = bytes('02180000fe03000100000000 080001000a010000 14000900 10000000020000000800050a0a000001')
  const route = parseRoute(captured)
  expect(route?.other).toEqual([{ type: 9, value: '10000000020000000800050a0a000001' }])
})

test('a copy that the kernel keeps for itself is not a route', () => {
  expect(parseRoute(bytes('02200000fe00000100020000 080001000a010000'))).toBeUndefined()
})
