import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { desiredFirewall, type FirewallFacts, FirewallPlanner, type GuardFacts } from '#src/mesh/firewall.ts'
import { armedAfter, PODVEIL_DEFAULTS, type PodveilSettings } from '#src/mesh/guard.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { type Cidr, hostCidr, parseAddress, parseCidr } from '#wg/ip.ts'
import { type DesiredFirewall, elementsOf, type GuardRules, structure } from '#wg/nftables/ruleset.ts'
import { atOnce } from '#wg/slices.ts'
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
  /** Whether the guard is. */
  readonly off?: boolean
}

/** Of which some lie in others. */
const NESTED = ['10.0.0.0/24', '10.0.0.128/25', '10.0.0.7/32', '10.0.1.0/24'].map(parseCidr)

const meshOf = (...records: NodeRecord[]) => new Map(records.map(record => [record.name, record]))

/** All that a firewall is made of. */
const textOf = (desired: DesiredFirewall) => [structure(desired), elementsOf(desired)]

describe('the plan of the packet filter', () => {
  /** One that has planned two nodes. */
  const begun = () => {
    const planner = new FirewallPlanner()
    const plan = (...args: Parameters<FirewallPlanner['plan']>) => atOnce(planner.plan(...args))
    return { plan, before: plan(factsOf(meshOf(nodeRecord(1), nodeRecord(2)))) }
  }

  test('is the one before when a node has announced another key', () => {
    const { plan, before } = begun()
    const rekeyed = nodeRecord(2, { announced: { 4: announcement(7), 6: undefined } })
    expect(plan(factsOf(meshOf(nodeRecord(1), rekeyed)))).toBe(before)
  })

  test('is another when a peer is armed', () => {
    const { plan, before } = begun()
    const armed = { ...GUARD.armed, 4: new Set([name(2)]) }
    const after = plan(factsOf(meshOf(nodeRecord(1), nodeRecord(2)), { guard: { ...GUARD, armed } }))
    expect(after).not.toBe(before)
    expect([...(after.guard?.unarmed[4].table.keys() ?? [])]).toEqual([])
  })

  test('tells who follows its sets what has come and gone, and nothing else', () => {
    const { plan, before } = begun()
    const followed = new Follower<Cidr>()
    followed.take(before.remotes[4].table)
    const moved = nodeRecord(2, { podCidrs: [podCidr(9)] })
    const after = plan(factsOf(meshOf(nodeRecord(1), moved)))
    expect(followed.take(after.remotes[4].table)).toEqual(new Set([podCidr(9), podCidr(2)]))
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
      fc.boolean().map(isOff => ({ off: isOff })),
    )
    fc.assert(
      fc.property(fc.array<Change>(change, { maxLength: 12 }), changes => {
        const nodes = Table.from(meshOf(nodeRecord(1)))
        const planner = new FirewallPlanner()
        let facts = factsOf(nodes)
        let guard = GUARD
        let isOff = false
        for (const { put, drop, settings, off, ...changed } of changes) {
          isOff = off ?? isOff
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
          facts = { ...facts, ...changed.facts, guard: isOff ? undefined : guard }
          const desired = atOnce(planner.plan(facts))
          expect(textOf(desired)).toEqual(textOf(desiredFirewall(facts)))
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('what the guard’s rules look at', () => {
  const POOL = parseCidr('10.244.0.0/16')
  const GATEWAY = parseCidr('198.51.100.0/24')
  const addressOf = (index: number) => hostCidr(parseAddress(`10.200.0.${index}`))
  const nodes = new Map([1, 2, 3, 4].map(index => [name(index), nodeRecord(index)]))
  const settings = {
    ...PODVEIL_DEFAULTS,
    podSupernets: [POOL],
    natExceptions: [GATEWAY],
    clearTextNodes: new Set([name(3)]),
  }
  const armed = { 4: new Set([name(2)]), 6: new Set<never>() }
  const desired = desiredFirewall(factsOf(nodes, { guard: { ...GUARD, settings, armed } }))
  const listed = (set: Exclude<keyof GuardRules, 'mode' | 'wireguardPorts'>) =>
    new Set(desired.guard?.[set][4].table.keys())

  test('is closed: the supernets that are told, and the pods of every Node, this one’s included', () => {
    expect(listed('supernets')).toEqual(new Set([POOL, ...[1, 2, 3, 4].map(podCidr)]))
  })

  test('are the other nodes, which are where WireGuard packets come from, beside the gateways that are listed', () => {
    const others = [2, 3, 4].map(addressOf)
    expect(new Set(desired.nodes[4].table.keys())).toEqual(new Set(others))
    expect(new Set(desiredFirewall(factsOf(nodes, { guard: undefined })).nodes[4].table.keys())).toEqual(
      new Set(others),
    )
    expect(listed('pinned')).toEqual(new Set([GATEWAY, ...others]))
  })

  test('is open for nodes that are listed, pods and addresses, and for no other', () => {
    expect(listed('clear')).toEqual(new Set([podCidr(3), addressOf(3)]))
  })

  test('is let in from nodes that are neither listed nor armed', () => {
    expect(listed('unarmed')).toEqual(new Set([podCidr(4), addressOf(4)]))
  })
})

describe('Nodes that change while the packet filter is planned', () => {
  const node = fc.record({ index: fc.integer({ min: 2, max: 4 }), cidrs: fc.subarray(NESTED), isGone: fc.boolean() })
  const round = fc.record({
    before: fc.array(node, { maxLength: 2 }),
    steps: fc.nat(8),
    meanwhile: fc.array(node, { maxLength: 2 }),
    /** Nobody knows what has changed in them. */
    areOthers: fc.boolean(),
  })

  test('are in the next plan as they are then, whatever they were', () => {
    fc.assert(
      fc.property(fc.array(round, { minLength: 1, maxLength: 6 }), rounds => {
        let nodes = Table.from(meshOf(nodeRecord(1)))
        const planner = new FirewallPlanner()
        const change = ({ index, cidrs, isGone }: { index: number; cidrs: Cidr[]; isGone: boolean }): void => {
          if (isGone) nodes.delete(name(index))
          else nodes.set(name(index), nodeRecord(index, { podCidrs: cidrs }))
        }
        for (const { before, steps, meanwhile, areOthers } of rounds) {
          before.forEach(change)
          const plan = planner.plan(factsOf(nodes))
          for (let step = 0; step < steps; step++) if (plan.next().done) break
          meanwhile.forEach(change)
          for (const _ of plan);
          if (areOthers) nodes = Table.from(nodes)
          expect(textOf(atOnce(planner.plan(factsOf(nodes))))).toEqual(textOf(desiredFirewall(factsOf(nodes))))
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
