import { expect, test } from 'vitest'
import { clip, member, messageOf, quote } from '#src/cluster/hostile.ts'

test.each([
  ['breaks the line', 'one\r\ntwo\u2028three\u2029four', 'one two three four'],
  ['speaks to a terminal', 'one\u001b[31m\u009btwo\u0007', 'one [31m two'],
  ['turns the direction of writing', 'one\u202eowt\u2066\u200fthree', 'one\ufffdowt\ufffd\ufffdthree'],
])('what %s is harmless where somebody else’s words are shown', (_, words, shown) => {
  expect(clip(words, 64)).toBe(shown)
  expect(quote(words)).toBe(JSON.stringify(shown))
  expect(messageOf(new Error(words))).toBe(shown)
})

test('what is too long is cut', () => {
  expect(clip('a'.repeat(65), 64)).toBe(`${'a'.repeat(64)}…`)
  expect(quote({ deep: 'a'.repeat(1_000_000) })).toHaveLength(65)
})

test('a name that every object has is no member', () => {
  for (const name of ['constructor', 'toString', '__proto__']) expect(member({}, name)).toBeUndefined()
  expect(member(JSON.parse('{"__proto__": 1}'), '__proto__')).toBe(1)
})
