import { describe, expect, test } from 'vitest'
import { guardEvent } from '#src/agent/report-guard.ts'

const counters = (counts: Record<string, number>): ReadonlyMap<string, number> => new Map(Object.entries(counts))

describe('the guard’s counters', () => {
  test('that have grown are told by what they count', () => {
    const event = guardEvent(counters({ out_to_pod: 1, in_from_pod: 5 }), counters({ out_to_pod: 3, in_from_pod: 5 }))
    expect(event).toMatchObject({ type: 'Warning', reason: 'GuardDropping' })
    expect(event?.message).toContain('in clear: to pods on other nodes. ')
  })

  test('that stand still say nothing, nor what only counts', () => {
    expect(guardEvent(counters({ out_to_pod: 1 }), counters({ out_to_pod: 1 }))).toBeUndefined()
    expect(guardEvent(counters({ in_unarmed: 1 }), counters({ in_unarmed: 9 }))).toBeUndefined()
    expect(guardEvent(counters({}), counters({}))).toBeUndefined()
  })

  test('that began anew with the table have not grown', () => {
    expect(guardEvent(counters({ out_to_pod: 100 }), counters({ out_to_pod: 0 }))).toBeUndefined()
  })

  test('say the same words for more of the same, so that it is one Event with a count', () => {
    const [first, second] = [3, 30].map(to => guardEvent(counters({ out_to_node: 1 }), counters({ out_to_node: to })))
    expect(first).toEqual(second)
  })
})
