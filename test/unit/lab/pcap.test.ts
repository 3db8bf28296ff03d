import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PcapReader } from '#src/lab/pcap.ts'

function capture(frames: readonly Uint8Array[], littleEndian: boolean): Buffer {
  const word = (value: number) => {
    const bytes = Buffer.alloc(4)
    if (littleEndian) bytes.writeUInt32LE(value)
    else bytes.writeUInt32BE(value)
    return bytes
  }
  const header = Buffer.concat([word(0xa1b2c3d4), Buffer.alloc(20)])
  const records = frames.map(frame => Buffer.concat([...[0, 0, frame.length, frame.length].map(word), frame]))
  return Buffer.concat([header, ...records])
}

describe('a capture', () => {
  test('gives its frames, however the stream is cut', () => {
    const frames = fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 8 })
    fc.assert(
      fc.property(frames, fc.boolean(), fc.integer({ min: 1, max: 50 }), (written, littleEndian, piece) => {
        const bytes = capture(written, littleEndian)
        const reader = new PcapReader()
        const read: Buffer[] = []
        for (let at = 0; at < bytes.length; at += piece) read.push(...reader.push(bytes.subarray(at, at + piece)))
        expect(read.map(frame => [...frame])).toEqual(written.map(frame => [...frame]))
      }),
    )
  })

  test('is refused when it is something else', () => {
    expect(() => new PcapReader().push(Buffer.alloc(24, 'x'))).toThrow(
      expect.objectContaining({ code: 'ERR_LAB_COMMAND' }),
    )
    const broken = capture([Buffer.from('frame')], true)
    broken.writeUInt32LE(0xffffffff, 24 + 8)
    expect(() => new PcapReader().push(broken)).toThrow(/4294967295 bytes/)
  })
})
