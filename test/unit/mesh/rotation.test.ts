import { describe, expect, test } from 'vitest'
import type { NodeName } from '#src/mesh/node-record.ts'
import { ROTATION_DEFAULTS, type RotationSettings, rotationDue } from '#src/mesh/rotation.ts'

const HOUR = 3_600_000
const NOW = Date.parse('2026-11-22T12:00:00Z')
const NODE = 'node-1' as NodeName

const due = (settings: Partial<RotationSettings>, since = NOW - HOUR, self = NODE) =>
  rotationDue({ ...ROTATION_DEFAULTS, ...settings }, self, since, NOW)

describe('a private key', () => {
  test('is kept for ever when nobody says otherwise', () => {
    expect(due({}, 0).due).toBe(false)
  })

  test.each([
    { interval: 2 * HOUR, age: HOUR, replaced: false },
    { interval: HOUR, age: HOUR, replaced: true },
    { interval: HOUR, age: 0.8 * HOUR, replaced: false },
  ])('that is $age ms old is replaced at $interval ms: $replaced', ({ interval, age, replaced }) => {
    expect(due({ interval }, NOW - age).due).toBe(replaced)
  })

  test('of a hundred nodes that began together is not replaced on all of them at once', () => {
    const nodes = Array.from({ length: 100 }, (_, i) => `node-${i}` as NodeName)
    const replaced = nodes.filter(node => due({ interval: HOUR }, NOW - 0.95 * HOUR, node).due)
    expect(replaced.length).toBeGreaterThan(20)
    expect(replaced.length).toBeLessThan(80)
  })

  test('is replaced when it was in use before a time that is asked for, and its successor is not', () => {
    expect(due({ notBefore: NOW - 1 }).due).toBe(true)
    expect(due({ notBefore: NOW - 1 }, NOW).due).toBe(false)
  })

  test('is not replaced for a time that has not come yet: with a clock that is behind it would be for ever', () => {
    expect(due({ notBefore: NOW + 1 }, NOW).due).toBe(false)
    expect(due({ compromised: NOW + 1 }, NOW).due).toBe(false)
  })

  test('that somebody may know waits for nobody longer than half a minute', () => {
    expect(due({ compromised: NOW })).toEqual({ due: true, patience: 30_000 })
    expect(due({ compromised: NOW, patience: 5_000 })).toEqual({ due: true, patience: 5_000 })
    expect(due({ notBefore: NOW })).toEqual({ due: true, patience: ROTATION_DEFAULTS.patience })
  })
})
