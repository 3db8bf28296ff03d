import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SequenceSet } from '#src/lab/probe/sequence-set.ts'

const setOf = (numbers: readonly number[]): SequenceSet => {
  const set = new SequenceSet()
  for (const number of numbers) set.add(number)
  return set
}

describe('numbers that have arrived', () => {
  test('are counted as a plain set counts them, in any order and with duplicates', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20_000)), numbers => {
        const distinct = new Set(numbers)
        const set = setOf(numbers)
        expect(set.size).toBe(distinct.size)
        expect(set.duplicates).toBe(numbers.length - distinct.size)
        for (const number of numbers) expect(set.has(number)).toBe(true)
      }),
    )
  })

  test('leave gaps that, together with what arrived, are all numbers below the end', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(300)), fc.nat(300), (numbers, end) => {
        const set = setOf(numbers)
        const missing = set.gaps(end, 1_000).flatMap(gap => Array.from({ length: gap.count }, (_, i) => gap.first + i))
        const expected = Array.from({ length: end }, (_, i) => i).filter(number => !numbers.includes(number))
        expect(missing).toEqual(expected)
        expect(set.missingBelow(end)).toBe(expected.length)
      }),
    )
  })

  test('are missing no more once they have come late', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(100)), fc.uniqueArray(fc.nat(100)), (early, late) => {
        const set = setOf(early)
        set.missingBelow(60)
        for (const number of late) set.add(number)
        const seen = new Set([...early, ...late])
        expect(set.missingBelow(101)).toBe(101 - seen.size)
      }),
    )
  })

  test('are out of order when a higher one was there before', () => {
    expect(setOf([0, 1, 2]).reordered).toBe(0)
    expect(setOf([0, 2, 1, 3]).reordered).toBe(1)
  })
})
