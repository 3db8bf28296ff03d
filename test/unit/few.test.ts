import { describe, expect, test } from 'vitest'
import { few, NONE, sameFew, withOne, withoutOne } from '#wg/few.ts'

describe('a list of a few things', () => {
  test('has those that there are, each once', () => {
    expect(few([2, undefined, 1, 2])).toEqual([2, 1])
    expect(few([undefined])).toBe(NONE)
  })

  test('stays the same list where nothing is added to it, or taken away', () => {
    const list = few([1, 2])
    expect(withOne(list, 2)).toBe(list)
    expect(withoutOne(list, 3)).toBe(list)
    expect(withOne(list, 3)).toEqual([1, 2, 3])
    expect(withoutOne(list, 1)).toEqual([2])
    expect(withoutOne(few([1]), 1)).toBe(NONE)
    expect(list).toEqual([1, 2])
  })

  test('is compared in its order', () => {
    expect(sameFew(few([1, 2]), few([1, 2]))).toBe(true)
    expect(sameFew(few([1, 2]), few([2, 1]))).toBe(false)
    expect(sameFew(few([1, 2]), few([1]))).toBe(false)
  })
})
