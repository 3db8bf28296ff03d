import { describe, expect, test } from 'vitest'
import { decideGuard, guardRules, PODVEIL_DEFAULTS, type PodPlaces, type PodveilSettings } from '#src/mesh/guard.ts'
import { territories } from '#src/mesh/territories.ts'
import { hostCidr, parseAddress, parseCidr } from '#wg/ip.ts'
import { atOnce } from '#wg/slices.ts'
import { name, nodeRecord, podCidr } from './records.ts'

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

describe('what the guard’s rules look at', () => {
  const GATEWAY = parseCidr('198.51.100.0/24')
  const addressOf = (index: number) => hostCidr(parseAddress(`10.200.0.${index}`))
  const nodes = new Map([1, 2, 3, 4].map(index => [name(index), nodeRecord(index)]))
  const settings = asked({
    podSupernets: [POOL],
    natExceptions: [GATEWAY],
    clearTextNodes: new Set([name(3)]),
  })
  const armed = { 4: new Set([name(2)]), 6: new Set<never>() }
  const rules = atOnce(guardRules('enforce', name(1), nodes, territories(nodes), settings, armed, [51820]))

  test('is closed: the supernets that are told, and the pods of every Node, this one’s included', () => {
    expect(rules.supernets[4]).toEqual(new Set([POOL, ...[1, 2, 3, 4].map(podCidr)]))
  })

  test('are the other nodes, which are where WireGuard packets come from, beside the gateways that are listed', () => {
    const others = [2, 3, 4].map(addressOf)
    expect(rules.nodeAddresses[4]).toEqual(new Set(others))
    expect(rules.pinned[4]).toEqual(new Set([GATEWAY, ...others]))
  })

  test('is open for nodes that are listed, pods and addresses, and for no other', () => {
    expect(rules.clear[4]).toEqual(new Set([podCidr(3), addressOf(3)]))
  })

  test('is let in from nodes that are neither listed nor armed', () => {
    expect(rules.unarmed[4]).toEqual(new Set([podCidr(4), addressOf(4)]))
  })
})
