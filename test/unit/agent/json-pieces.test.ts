import fc from 'fast-check'
import { expect, test } from 'vitest'
import { jsonPieces } from '#src/agent/json-pieces.ts'

test('JSON in pieces says what JSON says', () => {
  fc.assert(
    fc.property(fc.jsonValue(), value => {
      expect(JSON.parse([...jsonPieces(value)].join(''))).toEqual(JSON.parse(JSON.stringify(value)))
    }),
  )
  expect([...jsonPieces({ a: undefined, b: [] })].join('')).toBe('{"b":[]}\n')
})

test('a long list is made as it is taken, an element on each line', () => {
  let made = 0
  const peers = Array.from({ length: 5_000 }, (_, index) => ({
    get name() {
      made++
      return `node-${index}`
    },
  }))
  const pieces = jsonPieces({ node: 'node-1', families: [{ peers }] })
  const first = pieces.next().value
  expect(made).toBeLessThan(4_500)
  const text = first + [...pieces].join('')
  expect(text.split('\n').filter(line => line.startsWith('{"name":"node-'))).toHaveLength(4_999)
  expect(made).toBe(5_000)
})
