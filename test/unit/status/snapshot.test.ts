import { expect, test } from 'vitest'
import { parseSnapshot } from '#src/status/snapshot.ts'
import { snapshot } from './support/snapshots.ts'

test('what was written is what is read', () => {
  expect(parseSnapshot(JSON.stringify(snapshot()))).toEqual(snapshot())
})

test.each([
  ['', 'is not JSON, or cut short'],
  ['{"format":1', 'is not JSON, or cut short'],
  ['null', 'is of another version of Podveil'],
  ['{"format":2}', 'is of another version of Podveil'],
  [JSON.stringify({ ...snapshot(), time: 'yesterday' }), 'has no time in time'],
  [JSON.stringify({ ...snapshot(), node: 7 }), 'has no usable node'],
  [JSON.stringify({ ...snapshot(), families: [{ family: 5 }] }), 'has a family that is neither 4 nor 6'],
])('%s is refused: %s', (text, said) => {
  expect(() => parseSnapshot(text)).toThrow(said)
})

test('of an agent that measured no echoes and asked no path, nothing is known of them', () => {
  const { families, ...rest } = snapshot()
  const before = families.map(family => ({
    ...family,
    peers: family.peers.map(({ echo: _, pathMtu: __, ...peer }) => peer),
  }))
  expect(parseSnapshot(JSON.stringify({ ...rest, families: before }))).toEqual(snapshot())
})
