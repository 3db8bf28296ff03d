import { describe, expect, it } from 'vitest'
import type { Json, JsonObject } from '#src/lab/apiserver/json.ts'
import { ObjectSchema } from '#src/lab/apiserver/schema.ts'

const schemaOf = (spec: JsonObject): ObjectSchema => new ObjectSchema({ type: 'object', properties: { spec } })

/** What the schema says of that value as spec: field, reason. */
function faults(spec: JsonObject, value: Json): string[] {
  return schemaOf(spec)
    .check({ spec: value })
    .map(({ field, reason }) => `${field} ${reason.replace('FieldValue', '')}`)
}

describe('a schema', () => {
  it.each<[string, JsonObject, Json, string[]]>([
    ['a text for a number', { type: 'integer' }, '1', ['spec TypeInvalid']],
    ['a fraction for a whole number', { type: 'integer' }, 1.5, ['spec TypeInvalid']],
    ['null where it is not allowed', { type: 'string' }, null, ['spec TypeInvalid']],
    ['a number below the least', { type: 'number', minimum: 1 }, 0.5, ['spec Invalid']],
    ['a number above the most', { type: 'integer', maximum: 65535 }, 65536, ['spec Invalid']],
    ['a value that is not listed', { type: 'string', enum: ['a', 'b'] }, 'c', ['spec NotSupported']],
    ['a text that does not match', { type: 'string', pattern: '^a+$' }, 'b', ['spec Invalid']],
    ['a text that is too long', { type: 'string', maxLength: 2 }, 'abc', ['spec TooLong']],
    ['a text that is too short', { type: 'string', minLength: 2 }, 'a', ['spec Invalid']],
    ['a text that is no CIDR', { type: 'string', format: 'cidr' }, '10.0.0.0/33', ['spec TypeInvalid']],
    ['a list that is too long', { type: 'array', maxItems: 1 }, [1, 2], ['spec TooMany']],
    ['a list that is too short', { type: 'array', minItems: 1 }, [], ['spec Invalid']],
    ['an item of a wrong type', { type: 'array', items: { type: 'string' } }, ['a', 1], ['spec[1] TypeInvalid']],
    ['an item twice in a set', { type: 'array', 'x-kubernetes-list-type': 'set' }, ['a', 'a'], ['spec[1] Duplicate']],
    ['a field that is missing', { type: 'object', required: ['a'] }, {}, ['spec.a Required']],
    [
      'a value of a map',
      { type: 'object', additionalProperties: { type: 'string' } },
      { a: 1 },
      ['spec.a TypeInvalid'],
    ],
    ['too many values in a map', { type: 'object', maxProperties: 1 }, { a: 1, b: 2 }, ['spec TooMany']],
    ['a flag for a port', { 'x-kubernetes-int-or-string': true }, true, ['spec TypeInvalid']],
    [
      'an item twice in a map by its key',
      { type: 'array', 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] },
      [
        { type: 'A', v: 1 },
        { type: 'A', v: 2 },
      ],
      ['spec[1] Duplicate'],
    ],
    [
      'every fault at once',
      { type: 'object', properties: { a: { type: 'string' }, b: { type: 'integer', minimum: 1 } }, required: ['c'] },
      { a: 1, b: 0 },
      ['spec.c Required', 'spec.a TypeInvalid', 'spec.b Invalid'],
    ],
  ])('refuses %s', (_, spec, value, expected) => {
    expect(faults(spec, value)).toEqual(expected)
  })

  it.each<[string, JsonObject, Json]>([
    ['null where it is allowed', { type: 'string', nullable: true }, null],
    ['a whole number for a number', { type: 'number' }, 1],
    ['a number or a text', { 'x-kubernetes-int-or-string': true }, '80%'],
    ['a pattern that pays no heed to case', { type: 'string', pattern: '^(?i)(Yes)$' }, 'yES'],
    ['a format that nobody knows', { type: 'string', format: 'horoscope' }, 'x'],
    ['an address', { type: 'string', format: 'ipv6' }, 'fd00::1'],
    ['a length in characters, not in bytes', { type: 'string', maxLength: 2 }, '🔑é'],
    ['what it says nothing of', {}, [{ a: 1 }]],
  ])('takes %s', (_, spec, value) => {
    expect(faults(spec, value)).toEqual([])
  })

  it('drops fields that it does not know and says which', () => {
    const items = { type: 'object', properties: { a: { type: 'string' } } }
    const schema = schemaOf({ type: 'object', properties: { list: { type: 'array', items } } })
    const { object, unknown } = schema.shape({
      kind: 'K',
      metadata: { name: 'n' },
      spec: { list: [{ a: '', b: '' }], c: 1 },
      d: 1,
    })
    expect(object).toEqual({ kind: 'K', metadata: { name: 'n' }, spec: { list: [{ a: '' }] } })
    expect(unknown).toEqual(['spec.list[0].b', 'spec.c', 'd'])
  })

  it('keeps fields that it does not know where it is told to, and still looks into those that it knows', () => {
    const known = { type: 'object', properties: { a: { type: 'string' } } }
    const schema = schemaOf({ type: 'object', 'x-kubernetes-preserve-unknown-fields': true, properties: { known } })
    const { object, unknown } = schema.shape({ spec: { other: { x: 1 }, known: { a: '', b: '' } } })
    expect(object).toEqual({ spec: { other: { x: 1 }, known: { a: '' } } })
    expect(unknown).toEqual(['spec.known.b'])
  })

  it('fills in defaults, also where null stands for nothing', () => {
    const schema = schemaOf({
      type: 'object',
      properties: { a: { type: 'integer', default: 7 }, b: { type: 'string', default: 'x', nullable: true } },
    })
    expect(schema.shape({ spec: { a: null, b: null } }).object).toEqual({ spec: { a: 7, b: null } })
    expect(schema.shape({ spec: {} }).object).toEqual({ spec: { a: 7, b: 'x' } })
    expect(schema.shape({}).object).toEqual({})
  })
})
