import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { desiredFirewall, type FirewallFacts, type FirewallPlan, planFirewall } from '#src/mesh/firewall.ts'
import { armedAfter, PODVEIL_DEFAULTS } from '#src/mesh/guard.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { parseAddress } from '#wg/ip.ts'
import { announcement, endpointOf, name, nodeRecord, podCidr } from './records.ts'

const GUARD = {
  mode: 'audit' as const,
  settings: PODVEIL_DEFAULTS,
  armed: { 4: new Set<NodeName>(), 6: new Set<NodeName>() },
  wireguardPorts: [51820],
}

const factsOf = (nodes: ReadonlyMap<NodeName, NodeRecord>, fields: Partial<FirewallFacts> = {}): FirewallFacts => ({
  self: name(1),
  nodes,
  devices: ['wireguard.cali'],
  deviceAddresses: [parseAddress('10.244.1.1')],
  mark: 0x200000,
  helloPort: 9182,
  guard: GUARD,
  ...fields,
})

/** Where the API server may be. */
const PLACES = [443, 6443].map(port => [{ address: parseAddress('10.96.0.1'), port }])

const meshOf = (...records: NodeRecord[]) => new Map(records.map(record => [record.name, record]))

describe('the plan of the packet filter', () => {
  const before = planFirewall(undefined, factsOf(meshOf(nodeRecord(1), nodeRecord(2))))

  test('is the one before when a node has announced another key', () => {
    const rekeyed = nodeRecord(2, { announced: { 4: announcement(7), 6: undefined } })
    expect(planFirewall(before, factsOf(meshOf(nodeRecord(1), rekeyed)))).toBe(before)
  })

  test('is made anew when a peer is armed', () => {
    const armed = { ...GUARD.armed, 4: new Set([name(2)]) }
    const after = planFirewall(before, factsOf(meshOf(nodeRecord(1), nodeRecord(2)), { guard: { ...GUARD, armed } }))
    expect(after.desired.guard?.unarmed[4]).toEqual(new Set())
  })

  test('does not see what is changed later in the map that it was made of', () => {
    const nodes = meshOf(nodeRecord(1), nodeRecord(2))
    const first = planFirewall(undefined, factsOf(nodes))
    nodes.set(name(2), nodeRecord(2, { podCidrs: [podCidr(9)] }))
    expect(planFirewall(first, factsOf(nodes)).desired.remotes[4]).toContain(podCidr(9))
  })

  test('is, after any changes, what it would be from scratch', () => {
    const node = fc.record({
      index: fc.integer({ min: 1, max: 4 }),
      cidr: fc.nat(5),
      key: fc.integer({ min: 1, max: 4 }),
    })
    const change = fc.record({
      put: fc.option(node),
      drop: fc.option(fc.integer({ min: 2, max: 4 })),
      armed: fc.option(fc.subarray([2, 3, 4])),
      clear: fc.option(fc.subarray([2, 3, 4])),
      mark: fc.constantFrom(0x200000, 0x400000),
      apiServers: fc.constantFrom(undefined, ...PLACES),
    })
    fc.assert(
      fc.property(fc.array(change, { maxLength: 12 }), changes => {
        const nodes = meshOf(nodeRecord(1))
        let plan: FirewallPlan | undefined
        let guard: NonNullable<FirewallFacts['guard']> = GUARD
        for (const { put, drop, armed, clear, mark, apiServers } of changes) {
          if (put)
            nodes.set(
              name(put.index),
              nodeRecord(put.index, {
                podCidrs: [podCidr(put.cidr)],
                addresses: [endpointOf(put.cidr + 1).address],
                announced: { 4: announcement(put.key), 6: undefined },
              }),
            )
          if (drop) nodes.delete(name(drop))
          if (armed) guard = { ...guard, armed: { ...guard.armed, 4: new Set(armed.map(name)) } }
          if (clear) guard = { ...guard, settings: { ...guard.settings, clearTextNodes: new Set(clear.map(name)) } }
          const facts = factsOf(nodes, { mark, guard, apiServers })
          plan = planFirewall(plan, facts)
          expect(plan.desired).toEqual(desiredFirewall(facts))
        }
      }),
    )
  })
})

describe('who is armed', () => {
  const nodes = [name(2), name(3)]
  const armed = new Set([name(2)])
  const enabled = { mode: 'audit', enabled: true } as const

  test('is the same object while nothing changes, so that nothing follows from it', () => {
    expect(
      armedAfter(
        armed,
        node => node === name(2),
        nodes,
        enabled,
        node => node === name(2),
      ),
    ).toBe(armed)
  })

  test('takes in who says that it steers to us', () => {
    expect(
      armedAfter(
        armed,
        node => node === name(3),
        nodes,
        enabled,
        () => true,
      ),
    ).toEqual(new Set(nodes))
  })

  test('lets go of who takes part no more, but not under enforce', () => {
    expect(
      armedAfter(
        armed,
        () => false,
        nodes,
        enabled,
        () => false,
      ),
    ).toEqual(new Set())
    expect(
      armedAfter(
        armed,
        () => false,
        nodes,
        { mode: 'enforce', enabled: true },
        () => false,
      ),
    ).toBe(armed)
  })

  test('is everybody under enforce where nothing is encrypted', () => {
    expect(
      armedAfter(
        armed,
        () => false,
        nodes,
        { mode: 'enforce', enabled: false },
        () => false,
      ),
    ).toEqual(new Set(nodes))
  })
})
