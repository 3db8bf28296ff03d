import { expect, test } from 'vitest'
import { PairUse } from '#src/hello/pair-use.ts'

const SECOND = 1_000

/** Looks every ten seconds for five minutes. @param each bytes of others, and of echoes, that every ten seconds add */
function usedAfter(each: { others: number; echoes: number }): boolean {
  const use = new PairUse(0)
  for (let i = 0; i <= 30; i++) use.look(BigInt(i * (each.others + each.echoes)), i * each.echoes, i * 10 * SECOND)
  return use.inUse(300 * SECOND)
}

test('a pair that is new counts as in use, and as idle a minute later where nobody uses it', () => {
  const use = new PairUse(0)
  expect(use.inUse(30 * SECOND)).toBe(true)
  expect(use.inUse(61 * SECOND)).toBe(false)
})

test('a pair that carries traffic stays in use', () => {
  expect(usedAfter({ others: 2_000, echoes: 0 })).toBe(true)
})

test('echoes are no use: a pair does not keep itself busy', () => {
  expect(usedAfter({ others: 0, echoes: 2_000 })).toBe(false)
})

test('nor is what WireGuard itself sends', () => {
  expect(usedAfter({ others: 64, echoes: 2_000 })).toBe(false)
})

test('a pair that was idle is in use again with its first traffic', () => {
  const use = new PairUse(0)
  for (const at of [0, 30, 60, 90]) use.look(0n, 0, at * SECOND)
  expect(use.inUse(90 * SECOND)).toBe(false)
  use.look(50_000n, 0, 120 * SECOND)
  expect(use.inUse(120 * SECOND)).toBe(true)
})
