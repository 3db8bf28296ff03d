import { describe, expect, test } from 'vitest'
import { RepairPace } from '#src/agent/repair-pace.ts'

/** What happens again every so many milliseconds, for so long. */
const times = (every: number, until: number): number[] => Array.from({ length: until / every }, (_, i) => i * every)

describe('what somebody else changes', () => {
  test('is repaired at once when it comes in one go, however much it is', () => {
    const pace = new RepairPace()
    expect(times(0.1, 900).map(at => pace.repair(at))).toEqual(times(0.1, 900).map(() => 0))
  })

  test('again and again is repaired within a quarter of a second, and leaves time for all else', () => {
    const pace = new RepairPace()
    const waits = times(1, 60_000).map(at => pace.repair(at))
    expect(Math.max(...waits)).toBeLessThanOrEqual(250)
    const busy = waits.slice(10_000).filter(wait => wait === 0).length
    expect(busy).toBeLessThan(0.25 * 50_000)
    expect(busy).toBeGreaterThan(0)
  })

  test('is said line by line, twenty lines a minute when it does not end, with how many went unsaid', () => {
    const pace = new RepairPace()
    const said = times(10, 120_000).map(at => pace.say(`change ${at}`, at))
    expect(said.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 0))
    const lines = said.filter(unsaid => unsaid !== undefined)
    expect(lines.length).toBeLessThan(70)
    const last = said.findLastIndex(unsaid => unsaid !== undefined)
    expect(lines.reduce((sum, unsaid) => sum + unsaid + 1, 0)).toBe(last + 1)
  })

  test('after a while of peace is said and repaired at once again', () => {
    const pace = new RepairPace()
    for (const at of times(10, 60_000)) {
      pace.repair(at)
      pace.say(`change ${at}`, at)
    }
    expect(pace.repair(120_000)).toBe(0)
    expect(pace.say('one', 120_000)).toBeGreaterThan(0)
    expect(pace.say('another', 120_001)).toBe(0)
  })

  test('the same in one go is said once, and what comes then is not kept from being said', () => {
    const pace = new RepairPace()
    const said = times(1, 50).map(at => pace.say('removed a route', at))
    expect(said.filter(unsaid => unsaid !== undefined)).toEqual([0])
    expect(pace.say('removed a rule', 50)).toBe(49)
    expect(pace.say('removed a route', 150)).toBe(0)
  })
})
