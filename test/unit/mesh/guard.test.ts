import { describe, expect, test } from 'vitest'
import { decideGuard, PODVEIL_DEFAULTS, type PodPlaces, type PodveilSettings } from '#src/mesh/guard.ts'
import { parseCidr } from '#wg/ip.ts'
import { name } from './records.ts'

const ON = { 4: true, 6: true }
const OFF = { 4: false, 6: false }

const POOL = parseCidr('10.244.0.0/16')

const asked = (settings: Partial<PodveilSettings>): PodveilSettings => ({ ...PODVEIL_DEFAULTS, ...settings })
const enforce = asked({ guard: 'enforce', podSupernets: [POOL] })
const INSIDE: PodPlaces = { around: [], strays: [] }

describe('what the guard does', () => {
  test.each(['off', 'audit'] as const)('is %s where it is told so, whatever else there is', guard => {
    for (const enabled of [ON, OFF])
      expect(decideGuard(asked({ guard }), enabled, ON, INSIDE)).toEqual({ mode: guard, keepsOn: [], refusals: [] })
  })

  test('is enforce where that can be done', () => {
    expect(decideGuard(enforce, ON, ON, INSIDE)).toEqual({ mode: 'enforce', keepsOn: [], refusals: [] })
    expect(decideGuard(enforce, ON, OFF, INSIDE).mode).toBe('enforce')
  })

  test('is to keep a family encrypted that is turned off under enforce, and to say so', () => {
    const decision = decideGuard(enforce, { 4: false, 6: true }, ON, INSIDE)
    expect(decision).toMatchObject({ mode: 'enforce', keepsOn: [4] })
    expect(decision.refusals).toEqual([expect.stringMatching(/^IPv4 encryption stays on: .*audit or off/)])
  })

  test('is to count, and to say so, where enforce would only cut the cluster apart', () => {
    const never = decideGuard(enforce, OFF, OFF, INSIDE)
    expect(never).toMatchObject({ mode: 'audit', keepsOn: [] })
    expect(never.refusals).toEqual([expect.stringContaining('needs encryption on')])
  })

  test('is to count, and to say what to set, where only Nodes say where pods are: one that is gone says nothing', () => {
    const unset = { ...enforce, podSupernets: [] }
    const decision = decideGuard(unset, ON, ON, { ...INSIDE, around: [parseCidr('10.244.0.0/21')] })
    expect(decision).toMatchObject({ mode: 'audit', keepsOn: [] })
    expect(decision.refusals).toEqual([
      expect.stringMatching(/needs pod supernets: set podSupernets .*, those of the Nodes lie in 10\.244\.0\.0\/21;/),
    ])
    expect(decideGuard(unset, ON, ON, INSIDE).refusals).toEqual([expect.stringContaining("cluster's pods; it only")])
  })

  test('stays enforce, and says so, where a Node has pods that no supernet holds: no Node opens the guard', () => {
    const stray = { node: name(3), cidr: parseCidr('10.9.3.0/24') }
    const decision = decideGuard(enforce, ON, ON, { ...INSIDE, strays: [stray] })
    expect(decision).toMatchObject({ mode: 'enforce', keepsOn: [] })
    expect(decision.refusals).toEqual([expect.stringMatching(/10\.9\.3\.0\/24 of node-3 .*podSupernets.*Add/)])
  })
})
