import fc from 'fast-check'
import { expect, test } from 'vitest'
import { jsonInSteps } from '#src/status/json-steps.ts'

/** The same data with each list of it, but for those within another, as an iterable that is no array. */
function lazy(data: unknown): unknown {
  if (Array.isArray(data)) return data.values()
  if (typeof data !== 'object' || data === null) return data
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, lazy(value)]))
}

test('pieces make up the JSON of the whole, whether lists are there or made on the way', () => {
  fc.assert(
    fc.property(fc.jsonValue(), data => {
      const text = JSON.stringify(data)
      expect([...jsonInSteps(data)].join('')).toBe(text)
      expect([...jsonInSteps(lazy(data))].join('')).toBe(text)
    }),
  )
})

test('a long list is told some entries at a time', () => {
  const long = Array.from({ length: 1_000 }, (_, entry) => `${entry}`.padStart(100))
  const pieces = [...jsonInSteps({ long: long.values() })]
  expect(JSON.parse(pieces.join(''))).toEqual({ long })
  expect(Math.max(...pieces.map(piece => piece.length))).toBeLessThan(9_000)
})

test('fields that are not there are left out', () => {
  expect([...jsonInSteps({ none: undefined, empty: {}, list: [] })].join('')).toBe('{"empty":{},"list":[]}')
})
