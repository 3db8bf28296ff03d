import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  desiredFirewall,
  type FirewallFacts,
  type FirewallPlan,
  type GuardFacts,
  planFirewall,
} from '#src/mesh/firewall.ts'
import { armedAfter, PODVEIL_DEFAULTS, type PodveilSettings } from '#src/mesh/guard.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { parseAddress } from '#wg/ip.ts'
import { Follower, Table } from '#wg/table.ts'
import { announcement, endpointOf, name, nodeRecord, podCidr } from './records.ts'

const GUARD: GuardFacts = {
  mode: 'audit',
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

/** One thing that is otherwise than before. */
interface Change {
  readonly put?: Readonly<Record<'index' | 'cidr' | 'address' | 'key', number>>
  readonly drop?: number
  readonly settings?: Partial<PodveilSettings>
  readonly guard?: Partial<GuardFacts>
  readonly facts?: Partial<FirewallFacts>
}

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
      address: fc.nat(3),
      key: fc.integer({ min: 1, max: 4 }),
    })
    const some = fc.subarray([2, 3, 4])
    const change = fc.oneof(
      node.map(put => ({ put })),
      fc.integer({ min: 2, max: 4 }).map(drop => ({ drop })),
      some.map(armed => ({ guard: { armed: { ...GUARD.armed, 4: new Set(armed.map(name)) } } })),
      some.map(clear => ({ settings: { clearTextNodes: new Set(clear.map(name)) } })),
      some.map(all => ({ settings: { podSupernets: all.map(podCidr) } })),
      some.map(all => ({ settings: { natExceptions: all.map(podCidr) } })),
      fc.constantFrom('audit' as const, 'enforce' as const).map(mode => ({ guard: { mode } })),
      some.map(wireguardPorts => ({ guard: { wireguardPorts } })),
      some.map(all => ({ facts: { devices: all.map(name) } })),
      some.map(all => ({ facts: { deviceAddresses: all.map(index => endpointOf(index).address) } })),
      fc.constantFrom(0x200000, 0x400000).map(mark => ({ facts: { mark } })),
      fc.constantFrom(undefined, ...PLACES).map(apiServers => ({ facts: { apiServers } })),
    )
    fc.assert(
      fc.property(fc.array<Change>(change, { maxLength: 12 }), changes => {
        const nodes = Table.from(meshOf(nodeRecord(1)))
        const followed = new Follower<NodeName>()
        let plan: FirewallPlan | undefined
        let facts = factsOf(nodes)
        let guard = GUARD
        for (const { put, drop, settings, ...changed } of changes) {
          if (put)
            nodes.set(
              name(put.index),
              nodeRecord(put.index, {
                podCidrs: [podCidr(put.cidr)],
                addresses: [endpointOf(put.address + 1).address],
                announced: { 4: announcement(put.key), 6: undefined },
              }),
            )
          if (drop) nodes.delete(name(drop))
          guard = { ...guard, ...changed.guard, settings: { ...guard.settings, ...settings } }
          facts = { ...facts, ...changed.facts, guard }
          plan = planFirewall(plan, facts, followed.take(nodes))
          expect(plan.desired).toEqual(desiredFirewall(facts))
        }
      }),
      { numRuns: 500 },
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
