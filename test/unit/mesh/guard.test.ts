import { describe, expect, test } from 'vitest'
import { decideGuard, guardRules, PODVEIL_DEFAULTS, type PodveilSettings, supernetsKnown } from '#src/mesh/guard.ts'
import { hostCidr, parseAddress, parseCidr } from '#wg/ip.ts'
import { name, nodeRecord, podCidr } from './records.ts'

const ON = { 4: true, 6: true }
const OFF = { 4: false, 6: false }

const asked = (settings: Partial<PodveilSettings>): PodveilSettings => ({ ...PODVEIL_DEFAULTS, ...settings })
const enforce = asked({ guard: 'enforce' })

describe('what the guard does', () => {
  test.each(['off', 'audit'] as const)('is %s where it is told so, whatever else there is', guard => {
    for (const enabled of [ON, OFF])
      expect(decideGuard(asked({ guard }), enabled, ON, false)).toEqual({ mode: guard, keepsOn: [], refusals: [] })
  })

  test('is enforce where that can be done', () => {
    expect(decideGuard(enforce, ON, ON, true)).toEqual({ mode: 'enforce', keepsOn: [], refusals: [] })
    expect(decideGuard(enforce, ON, OFF, true).mode).toBe('enforce')
  })

  test('is to keep a family encrypted that is turned off under enforce, and to say so', () => {
    const decision = decideGuard(enforce, { 4: false, 6: true }, ON, true)
    expect(decision).toMatchObject({ mode: 'enforce', keepsOn: [4] })
    expect(decision.refusals).toEqual([expect.stringMatching(/^IPv4 encryption stays on: .*audit or off/)])
  })

  test('is to count, and to say so, where enforce would only cut the cluster apart', () => {
    const never = decideGuard(enforce, OFF, OFF, true)
    expect(never).toMatchObject({ mode: 'audit', keepsOn: [] })
    expect(never.refusals).toEqual([expect.stringContaining('needs encryption on')])
    const unknown = decideGuard(enforce, ON, ON, false)
    expect(unknown).toMatchObject({ mode: 'audit', keepsOn: [] })
    expect(unknown.refusals).toEqual([expect.stringContaining('needs pod supernets')])
  })

  test('has something to hold closed where a Node or the operator says so', () => {
    const bare = nodeRecord(1, { podCidrs: [] })
    const known = (settings: PodveilSettings, ...nodes: ReturnType<typeof nodeRecord>[]) =>
      supernetsKnown(settings, nodes.values())
    expect(known(enforce, bare)).toBe(false)
    expect(known(enforce, bare, nodeRecord(2))).toBe(true)
    expect(known(asked({ podSupernets: [parseCidr('10.0.0.0/8')] }), bare)).toBe(true)
  })
})

describe('what the guard’s rules look at', () => {
  const POOL = parseCidr('10.244.0.0/16')
  const GATEWAY = parseCidr('198.51.100.0/24')
  const addressOf = (index: number) => hostCidr(parseAddress(`10.200.0.${index}`))
  const nodes = new Map([1, 2, 3, 4].map(index => [name(index), nodeRecord(index)]))
  const settings = asked({
    podSupernets: [POOL],
    natExceptions: [GATEWAY],
    clearTextNodes: new Set([name(3)]),
  })
  const armed = { 4: new Set([name(2)]), 6: new Set<never>() }
  const rules = guardRules('enforce', name(1), nodes, settings, armed, [51820])

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
