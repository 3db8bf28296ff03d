import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CANARY, MIN_DATAGRAM, readDatagram, writeDatagram } from '#src/lab/probe/datagram.ts'

const datagram = fc.record({
  run: fc.integer({ min: 0, max: 0xffffffff }),
  source: fc.integer({ min: 0, max: 0xffff }),
  destination: fc.integer({ min: 0, max: 0xffff }),
  sequence: fc.integer({ min: 0, max: 0xffffffff }),
  sentAt: fc.double({ noNaN: true }),
})

test('a datagram says what was written into it, and starts with the canary', () => {
  fc.assert(
    fc.property(datagram, fc.integer({ min: MIN_DATAGRAM, max: 1_500 }), (written, size) => {
      const bytes = Buffer.alloc(size)
      writeDatagram(bytes, written)
      expect(readDatagram(bytes)).toEqual(written)
      expect(bytes.indexOf(CANARY)).toBe(0)
    }),
  )
})

test('what no probe has sent is not counted', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), bytes => {
      expect(readDatagram(Buffer.from(bytes))).toBeUndefined()
    }),
  )
  expect(readDatagram(Buffer.from(CANARY))).toBeUndefined()
})
