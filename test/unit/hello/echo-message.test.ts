import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeEcho, type Echo, encodeEcho } from '#src/hello/echo-message.ts'
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
