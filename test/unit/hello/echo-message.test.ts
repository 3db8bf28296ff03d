import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeEcho, type Echo, echoBytes, echoLength, encodeEcho } from '#src/hello/echo-message.ts'
import { decodeHello, encodeHello } from '#src/hello/message.ts'

const echo = fc.record<Echo>({
  kind: fc.constantFrom('ask', 'answer'),
  token: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
})

test('an echo says the same after its way over the wire, whatever a later version appends', () => {
  fc.assert(
    fc.property(echo, fc.uint8Array({ maxLength: 64 }), (said, more) => {
      expect(decodeEcho(Buffer.concat([encodeEcho(said), more]))).toEqual(said)
    }),
  )
})

test('an echo that is padded is of the length that was asked for, and says the same: every version answers it', () => {
  fc.assert(
    fc.property(
      echo,
      fc.constantFrom(4 as const, 6 as const),
      fc.integer({ min: 576, max: 9_000 }),
      (said, family, size) => {
        const bytes = encodeEcho(said, echoLength(family, size))
        expect(bytes.length).toBe(size - (family === 4 ? 28 : 48))
        expect(decodeEcho(bytes)).toEqual(said)
        // A receiver with less room has its beginning.
        expect(decodeEcho(bytes.subarray(0, 64))).toEqual(said)
      },
    ),
  )
})

test('what an echo adds to a counter of WireGuard is its packet, padded to 16 bytes, and 32 more', () => {
  expect([echoBytes(4), echoBytes(6)]).toEqual([48 + 32, 64 + 32])
  expect([echoBytes(4, 1440 - 28), echoBytes(6, 1408 - 48)]).toEqual([1440 + 32, 1408 + 32])
})

test('an echo is no hello, however long: an agent that knows no echoes drops it', () => {
  fc.assert(
    fc.property(echo, fc.uint8Array({ maxLength: 64 }), (said, more) => {
      expect(decodeHello(Buffer.concat([encodeEcho(said), more]))).toBeUndefined()
    }),
  )
})

test('a hello is no echo', () => {
  const content = { accepts: undefined, steers: true, parked: false }
  const hello = encodeHello({
    ...{ session: 1n, revision: 1, heardSession: 0n, heardRevision: 0, wantsAnswer: true, content },
  })
  expect(decodeEcho(hello)).toBeUndefined()
})

test('anything else is no echo', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), bytes => {
      fc.pre(!Buffer.from(bytes.subarray(0, 3)).equals(Buffer.from('PVE')))
      expect(decodeEcho(bytes)).toBeUndefined()
    }),
  )
  const good = encodeEcho({ kind: 'ask', token: 1n })
  expect(decodeEcho(good.subarray(0, 15))).toBeUndefined()
  expect(decodeEcho(good.with(3, 0))).toBeUndefined()
  expect(decodeEcho(good.with(4, 3))).toBeUndefined()
})
