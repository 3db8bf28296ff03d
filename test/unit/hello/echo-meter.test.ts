import { describe, expect, test } from 'vitest'
import { EchoMeter } from '#src/hello/echo-meter.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND

/** Asks every two seconds. @param answers milliseconds until each answer; undefined for one that is lost */
function metered(answers: readonly (number | undefined)[], meter = new EchoMeter()): { meter: EchoMeter; end: number } {
  for (const [i, after] of answers.entries()) {
    const at = i * 2 * SECOND
    meter.ask(BigInt(i), at)
    if (after !== undefined) meter.answer(BigInt(i), at + after)
  }
  return { meter, end: answers.length * 2 * SECOND + 10 * SECOND }
}

describe('what is known of a pair', () => {
  test('is the median round trip, so that one that waited for an agent says nothing, and no loss where none is lost', () => {
    const { meter, end } = metered([1, 2, 3, 2, 900])
    expect(meter.figures(end)).toEqual({ roundTrip: 0.002, loss: 0 })
  })

  test('is the part of the echoes that had no answer', () => {
    const { meter, end } = metered([1, undefined, 1, undefined, 1, 1, 1, 1])
    expect(meter.figures(end)?.loss).toBe(0.25)
  })

  test('is nothing after too few echoes', () => {
    const { meter, end } = metered([1, 1, 1, 1])
    expect(meter.figures(end)).toBeUndefined()
  })

  test('is nothing of a peer that has never answered: it may know no echoes', () => {
    const { meter, end } = metered(Array(40).fill(undefined))
    expect(meter.figures(end)).toBeUndefined()
    expect(meter.unanswered).toBe(40)
  })

  test('is a loss of all, and no round trip, of a peer that has answered once and then no more', () => {
    const { meter } = metered([1, ...Array(200).fill(undefined)])
    expect(meter.figures(201 * 2 * SECOND + 10 * SECOND)).toEqual({ roundTrip: null, loss: 1 })
    expect(meter.unanswered).toBe(0)
  })

  test('does not count an echo as lost while its answer may yet come, and counts one that comes late as answered', () => {
    const { meter, end } = metered([1, 1, 1, 1, 1])
    meter.ask(99n, end)
    expect(meter.figures(end + 4 * SECOND)?.loss).toBe(0)
    expect(meter.figures(end + 6 * SECOND)?.loss).toBeCloseTo(1 / 6)
    meter.answer(99n, end + 7 * SECOND)
    expect(meter.figures(end + 7 * SECOND)?.loss).toBe(0)
  })

  test('is forgotten after five minutes: an idle pair is not known', () => {
    const { meter, end } = metered([1, 1, 1, undefined, 1])
    expect(meter.figures(end + 3 * MINUTE)).toBeDefined()
    expect(meter.figures(end + 6 * MINUTE)).toBeUndefined()
  })

  test('is of the last sixty echoes: what was lost before is no loss of today', () => {
    const { meter, end } = metered([...Array(60).fill(undefined), ...Array(60).fill(1)])
    expect(meter.figures(end)?.loss).toBe(0)
  })
})

describe('an answer is believed', () => {
  test('only to what was asked', () => {
    const { meter, end } = metered(Array(10).fill(undefined))
    expect(meter.answer(77n, end)).toBe(false)
    expect(meter.figures(end)).toBeUndefined()
  })

  test('only once: the second one cannot make a round trip shorter or longer', () => {
    const { meter, end } = metered([5, 5, 5, 5, 5])
    expect(meter.answer(0n, end)).toBe(false)
    expect(meter.figures(end)?.roundTrip).toBe(0.005)
  })
})
