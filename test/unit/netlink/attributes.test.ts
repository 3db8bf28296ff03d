import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Attribute, AttributeWriter, readAttributes } from '#wg/netlink/attributes.ts'
import { NetlinkFormatError } from '#wg/netlink/errors.ts'

type Item =
  | { readonly kind: 'u8' | 'u16' | 'u32'; readonly type: number; readonly value: number }
  | { readonly kind: 'binary'; readonly type: number; readonly value: Uint8Array }
  | { readonly kind: 'nested'; readonly type: number; readonly value: readonly Item[] }

const type = fc.integer({ min: 1, max: 0x3fff })
const leaf: fc.Arbitrary<Item> = fc.oneof(
  fc.record({ kind: fc.constant('u8' as const), type, value: fc.integer({ min: 0, max: 0xff }) }),
  fc.record({ kind: fc.constant('u16' as const), type, value: fc.integer({ min: 0, max: 0xffff }) }),
  fc.record({ kind: fc.constant('u32' as const), type, value: fc.integer({ min: 0, max: 0xffff_ffff }) }),
  fc.record({ kind: fc.constant('binary' as const), type, value: fc.uint8Array({ maxLength: 40 }) }),
)
const items = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: leaf },
    fc.record({ kind: fc.constant('nested' as const), type, value: fc.array(leaf, { maxLength: 4 }) }),
  ),
  { maxLength: 20 },
)

function write(writer: AttributeWriter, item: Item): void {
  if (item.kind === 'binary') writer.binary(item.type, item.value)
  else if (item.kind === 'nested')
    writer.nested(item.type, nest => {
      for (const each of item.value) write(nest, each)
    })
  else writer[item.kind](item.type, item.value)
}

function read(attribute: Attribute, { kind, type, value }: Item): unknown {
  expect(attribute.type).toBe(type)
  if (kind === 'binary') return Uint8Array.from(attribute.payload)
  if (kind === 'nested') return attribute.nested().map((each, i) => read(each, value[i] as Item))
  return attribute[kind]()
}

const expected = ({ kind, value }: Item): unknown => (kind === 'nested' ? value.map(expected) : value)

test('attributes come back as they were written, however often the buffer had to grow', () => {
  fc.assert(
    fc.property(items, fc.integer({ min: 1, max: 300 }), (items, capacity) => {
      const writer = new AttributeWriter(capacity)
      for (const item of items) write(writer, item)
      const attributes = readAttributes(writer.bytes())
      expect(attributes).toHaveLength(items.length)
      expect(attributes.map((attribute, i) => read(attribute, items[i] as Item))).toEqual(items.map(expected))
    }),
    { numRuns: 500 },
  )
})

test('what is taken back leaves no trace in what is written after it', () => {
  const writer = new AttributeWriter(16)
  writer.u32(1, 1)
  const { length } = writer
  writer.binary(2, new Uint8Array(40).fill(0xff))
  writer.truncate(length)
  writer.u8(3, 7)
  expect(Buffer.from(writer.bytes()).toString('hex')).toBe('0800010001000000' + '0500030007000000')
})

test('an attribute and a nest that outgrow their 16-bit length are refused', () => {
  const writer = new AttributeWriter()
  expect(() => writer.binary(1, new Uint8Array(65_532))).toThrow(NetlinkFormatError)
  expect(() =>
    writer.nested(1, nest => {
      for (let n = 0; n < 2; n++) nest.binary(1, new Uint8Array(40_000))
    }),
  ).toThrow(NetlinkFormatError)
})
