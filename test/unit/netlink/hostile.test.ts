import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseFamily } from '#wg/genetlink/controller.ts'
import { parseOutcome } from '#wg/netlink/acknowledgement.ts'
import { readAttributes } from '#wg/netlink/attributes.ts'
import { NetlinkFormatError } from '#wg/netlink/errors.ts'
import { decodeMessages, encodeMessage, type NetlinkMessage, NLMSG_DONE, NLMSG_ERROR } from '#wg/netlink/message.ts'
import { encodeAddress, parseAddressMessage } from '#wg/rtnetlink/address.ts'
import { encodeLink, parseLink } from '#wg/rtnetlink/link.ts'
import { parseEvent } from '#wg/rtnetlink/monitor.ts'
import { encodeRoute, parseRoute } from '#wg/rtnetlink/route.ts'
import { encodeRule, parseRule } from '#wg/rtnetlink/rule.ts'
import { addresses, linkChanges, routes, rules } from './arbitraries.ts'

const outcome = (payload: Uint8Array, type = NLMSG_ERROR, flags = 0x200): unknown =>
  parseOutcome({ type, flags, sequence: 1, port: 0, payload }, { type: 24, flags: 0, payload: new Uint8Array(12) })

const PARSERS: [string, (bytes: Uint8Array) => unknown][] = [
  ['a datagram', decodeMessages],
  ['attributes', readAttributes],
  ['a link', parseLink],
  ['an address', parseAddressMessage],
  ['a route', parseRoute],
  ['a rule', parseRule],
  ['an error', payload => outcome(payload)],
  ['a capped error', payload => outcome(payload, NLMSG_ERROR, 0x300)],
  ['the end of a dump', payload => outcome(payload, NLMSG_DONE)],
  ['a generic netlink family', parseFamily],
]

/** Parses and gives an error back; any other than the one for malformed bytes is thrown on, and fails the test. */
function harmless(parse: () => unknown): void {
  try {
    parse()
  } catch (error) {
    if (!(error instanceof NetlinkFormatError)) throw error
  }
}

/**
 * The bytes in the middle of a larger buffer, as a datagram is in its slab: whoever reads past the end finds something
 * there, and the check below finds out.
 */
function inSlab(bytes: Uint8Array, filler: number): Uint8Array {
  const slab = new Uint8Array(bytes.length + 128).fill(filler)
  slab.set(bytes, 64)
  return slab.subarray(64, 64 + bytes.length)
}

function result(parse: (bytes: Uint8Array) => unknown, bytes: Uint8Array): unknown {
  try {
    return parse(bytes)
  } catch (error) {
    return String(error)
  }
}

test.each(PARSERS)('random bytes in place of %s are refused or read, and nothing worse', (_, parse) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => harmless(() => parse(bytes))),
    { numRuns: 500 },
  )
})

const valid: fc.Arbitrary<{ parse: (bytes: Uint8Array) => unknown; bytes: Uint8Array }> = fc.oneof(
  linkChanges.map(change => ({ parse: parseLink, bytes: encodeLink(7, change) })),
  addresses.map(address => ({ parse: parseAddressMessage, bytes: encodeAddress(address) })),
  routes.map(route => ({ parse: parseRoute, bytes: encodeRoute(route) })),
  rules.map(rule => ({ parse: parseRule, bytes: encodeRule(rule) })),
  routes.map(route => ({
    parse: decodeMessages,
    bytes: encodeMessage({ type: 24, flags: 0, payload: encodeRoute(route) }, 1),
  })),
)

test('a message that is cut short anywhere is refused or read, and nothing worse', () => {
  fc.assert(
    fc.property(valid, ({ parse, bytes }) => {
      for (let length = 0; length < bytes.length; length++) harmless(() => parse(bytes.subarray(0, length)))
    }),
  )
})

test('a message with flipped bits is refused or read, and nothing worse', () => {
  fc.assert(
    fc.property(valid, fc.array(fc.nat(), { minLength: 1, maxLength: 8 }), ({ parse, bytes }, flips) => {
      const flipped = Uint8Array.from(bytes)
      for (const flip of flips) {
        const at = (flip >>> 3) % flipped.length
        flipped[at] = (flipped[at] ?? 0) ^ (1 << (flip & 7))
      }
      harmless(() => parse(flipped))
    }),
    { numRuns: 2000 },
  )
})

test('nothing is read past the end of a message', () => {
  fc.assert(
    fc.property(valid, fc.nat(), ({ parse, bytes }, cut) => {
      const short = bytes.subarray(0, cut % (bytes.length + 1))
      expect(result(parse, inSlab(short, 0xff))).toEqual(result(parse, inSlab(short, 0x01)))
    }),
    { numRuns: 1000 },
  )
})

test('an event of any type and content is understood, refused or passed over', () => {
  const message = fc.record({ type: fc.integer({ min: 0, max: 120 }), payload: fc.uint8Array({ maxLength: 100 }) })
  fc.assert(
    fc.property(message, ({ type, payload }) => {
      const event: NetlinkMessage = { type, payload, flags: 0, sequence: 0, port: 0 }
      harmless(() => parseEvent(event))
    }),
    { numRuns: 2000 },
  )
})

test('a length of zero does not make a parser go round in circles', () => {
  expect(() => readAttributes(new Uint8Array(64))).toThrow(NetlinkFormatError)
  expect(() => decodeMessages(new Uint8Array(64))).toThrow(NetlinkFormatError)
})

test('a refused attribute outside of the request is not looked up', () => {
  const attributes = Uint8Array.of(8, 0, 2, 0, 0xff, 0xff, 0xff, 0x7f)
  const header = new Uint8Array(20)
  new DataView(header.buffer).setInt32(0, -22, true)
  expect(outcome(Buffer.concat([header, attributes]), NLMSG_ERROR, 0x300)).toEqual({ errno: 22, extack: {} })
})
