import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PublicKey } from '#keys/public-key.ts'
import { claimCidrs, podCidrSource } from '#src/mesh/claims.ts'
import { desiredRules } from '#src/mesh/desired-routes.ts'
import { digestOf } from '#src/mesh/digest.ts'
import type { FamilyView } from '#src/mesh/family-view.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import { type LaneStates, NO_STATES } from '#src/mesh/lanes.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { type FamilyPlan, hellosOf, planFamily } from '#src/mesh/plan.ts'
import { PlanMemory } from '#src/mesh/plan-memory.ts'
import {
  type Cidr,
  cidrContains,
  type Endpoint,
  hostCidr,
  type IpAddress,
  nthAddress,
  parseAddress,
  parseCidr,
} from '#wg/ip.ts'
import { diffPeers } from '#wg/reconcile/peers.ts'
import {
  announcement,
  endpointOf,
  mainPeers,
  name,
  nodeRecord,
  peerStatus,
  plannedRoutes,
  podCidr,
  privateKey,
  publicKey,
  viewOf,
  withMain,
} from './records.ts'
import { CONFIG } from './world.ts'

/** Plans until nothing changes, over a kernel that takes whatever it is told and peers that prove themselves. */
function settle(records: readonly NodeRecord[], proven: (node: NodeName) => boolean = () => true): Settled {
  let states: LaneStates = NO_STATES
  let view = viewOf(records)
  let plan: FamilyPlan | undefined
  for (let round = 0; round < 6; round++) {
    plan = planFamily(states, view)
    states = plan.lanes
    view = afterwards(view, plan, proven)
  }
  if (!plan) throw new Error('nothing was planned')
  return { plan, view }
}

interface Settled {
  readonly plan: FamilyPlan
  readonly view: FamilyView
}

function afterwards(view: FamilyView, plan: FamilyPlan, proven: (node: NodeName) => boolean): FamilyView {
  const { peers } = plan
  const own = view.nodes.get(view.self)
  const accepts = own && digestOf(publicKey(1), ownAddresses(own))
  const hellos = new Map<NodeName, HeardHello>()
  for (const [node, state] of peers)
    if (state.phase !== 'absent' && proven(node))
      hellos.set(node, { key: state.key, accepts, steers: true, parked: false, knowsOurs: true, at: view.now + 1_000 })
  const kernelPeers = [...mainPeers(plan)].map(
    ([key, { allowedIps, endpoint }]) => [key, peerStatus(key, { allowedIps, endpoint, latestHandshake: 1n })] as const,
  )
  const steered = plannedRoutes(plan).filter(({ type, table }) => type === 'unicast' && table !== 3)
  const kernel = {
    up: true,
    peers: new Map(kernelPeers),
    steered: new Set(steered.map(({ destination }) => destination)),
  }
  return withMain({ ...view, now: view.now + 1_000 }, { hellos, kernel })
}

const ownAddresses = (own: NodeRecord): Cidr[] => [
  ...own.podCidrs,
  ...[own.announced[4]?.interfaceAddress].filter(address => address !== undefined).map(hostCidr),
  ...own.addresses.map(hostCidr),
]

const phases = ({ plan }: Settled): Record<string, string> =>
  Object.fromEntries([...plan.peers].map(([node, { phase }]) => [node, phase]))

describe('the plan of an ordinary mesh', () => {
  const settled = settle([nodeRecord(1), nodeRecord(2), nodeRecord(3)])

  test('encrypts to all others', () => {
    expect(phases(settled)).toEqual({ 'node-2': 'encrypting', 'node-3': 'encrypting' })
    expect(settled.plan.refused).toEqual(new Map())
  })

  test('gives each peer its pods, the address of its device and its own addresses', () => {
    const peer = mainPeers(settled.plan).get(publicKey(2))
    expect([...(peer?.allowedIps ?? [])]).toEqual(['10.244.2.0/24', '10.244.2.1/32', '10.200.0.2/32'])
    expect(peer?.endpoint).toEqual({ address: '10.200.0.2', port: 51820 })
  })

  test('throws out of the table what is its own', () => {
    const own = plannedRoutes(settled.plan).find(({ destination }) => destination === podCidr(1))
    expect(own?.type).toBe('throw')
  })

  test('leads to other nodes’ addresses what its own pods send, but for what carries the mark', () => {
    const { tables, mark, rulePriority } = CONFIG
    const { rules } = settled.plan.desired
    const selector = { invert: false, fwmark: 0, fwmask: mark, source: podCidr(1), outputInterface: undefined }
    const own = rules.filter(({ inputInterface }) => inputInterface === undefined)
    expect(own.filter(({ table }) => table === tables.nodes)).toEqual([
      { ...selector, priority: rulePriority + 1, table: tables.nodes },
    ])
  })

  test('leads there as well what comes out of the tunnel with the mark', () => {
    const { tables, mark, rulePriority, interfaceName } = CONFIG
    const marked = { invert: false, fwmark: mark, fwmask: mark, source: undefined, outputInterface: undefined }
    const led = { ...marked, inputInterface: interfaceName, priority: rulePriority + 1 }
    expect(settled.plan.desired.rules.filter(({ inputInterface }) => inputInterface !== undefined)).toEqual([
      { ...led, table: tables.mesh },
      { ...led, table: tables.nodes },
    ])
  })

  test('leads there what comes out of the spare device too, while there is one', () => {
    const rules = desiredRules(settled.view, { main: 'wireguard.cali', spare: 'wg-spare.cali' })
    const by = (device: string) => rules.filter(({ inputInterface }) => inputInterface === device)
    expect(by('wg-spare.cali')).toEqual(
      by('wireguard.cali').map(rule => ({ ...rule, inputInterface: 'wg-spare.cali' })),
    )
    expect(by('wg-spare.cali')).toHaveLength(2)
  })

  test('gives an MTU to all routes to a peer whose path carries less, and to no other', () => {
    const memory = new PlanMemory()
    const first = planFamily(settled.plan.lanes, settled.view, memory)
    const { lanes } = first
    const before = plannedRoutes(first)
    const view = { ...settled.view, pathMtus: new Map([[name(2), 1232]]) }
    const after = plannedRoutes(planFamily(lanes, view, memory))
    const limited = after.filter(route => route.type === 'unicast' && route.mtu !== undefined)
    expect(limited).toEqual([
      { table: CONFIG.tables.mesh, destination: podCidr(2), type: 'unicast', device: CONFIG.interfaceName, mtu: 1232 },
      expect.objectContaining({ table: CONFIG.tables.nodes, destination: '10.200.0.2/32', mtu: 1232 }),
    ])
    // Whoever compares passes over the others.
    expect(after.filter(route => !before.includes(route))).toEqual(limited)
    expect(plannedRoutes(planFamily(lanes, settled.view, memory))).toEqual(before)
  })

  test('says hello to each with the digest of what its kernel accepts from it', () => {
    const { view, plan } = settled
    const hellos = hellosOf(view, 'main', plan.lanes.main)
    const held = view.lanes.main.kernel.peers.get(publicKey(2))?.allowedIps ?? []
    expect(hellos.get(name(2))).toEqual({ accepts: digestOf(publicKey(2), held), steers: true, parked: false })
  })

  test('without encryption and with nobody left is nothing at all', () => {
    const view = viewOf([nodeRecord(1), nodeRecord(2)], { enabled: false })
    const { desired, announce } = planFamily(NO_STATES, view)
    expect([desired.devices, desired.routes, desired.rules, announce]).toEqual([[], new Map(), [], undefined])
  })
})

describe('before there is proof', () => {
  test('a peer is accepted and not steered to', () => {
    const settled = settle([nodeRecord(1), nodeRecord(2)], () => false)
    expect(phases(settled)).toEqual({ 'node-2': 'accepting' })
    expect(mainPeers(settled.plan).get(publicKey(2))?.allowedIps.has(podCidr(2))).toBe(true)
    expect(plannedRoutes(settled.plan).find(({ destination }) => destination === podCidr(2))?.type).toBe('throw')
  })

  test('the key is not announced until every peer that has one is on the device', () => {
    const own = nodeRecord(1, { announced: { 4: undefined, 6: undefined } })
    const records = [own, nodeRecord(2), nodeRecord(3)]
    const states = planFamily(NO_STATES, viewOf(records)).lanes
    const kernel = (...keys: number[]) => ({
      up: true,
      peers: new Map(keys.map(key => [publicKey(key), peerStatus(publicKey(key))])),
      steered: new Set<Cidr>(),
    })
    expect(planFamily(states, viewOf(records, { main: { kernel: kernel(2) } })).announce).toBeUndefined()
    expect(planFamily(states, viewOf(records, { main: { kernel: kernel(2, 3) } })).announce?.publicKey).toBe(
      publicKey(1),
    )
  })

  test('a key that was announced stays, whoever joins', () => {
    const kernel = { up: true, peers: new Map(), steered: new Set<Cidr>() }
    const { announce } = planFamily(NO_STATES, viewOf([nodeRecord(1), nodeRecord(2)], { main: { kernel } }))
    expect(announce?.publicKey).toBe(publicKey(1))
  })

  test('a node whose device is down begins to announce nothing, and withdraws nothing', () => {
    const kernel = { up: false, peers: new Map(), steered: new Set<Cidr>() }
    const silent = nodeRecord(1, { announced: { 4: undefined, 6: undefined } })
    expect(planFamily(NO_STATES, viewOf([silent], { main: { kernel } })).announce).toBeUndefined()
    expect(planFamily(NO_STATES, viewOf([nodeRecord(1)], { main: { kernel } })).announce?.publicKey).toBe(publicKey(1))
  })
})

describe('keys that are not to be believed', () => {
  test.each([
    {
      what: 'our own',
      record: nodeRecord(3, { announced: { 4: announcement(1), 6: undefined } }),
      why: 'it announces the key of this node',
    },
    {
      what: 'that of a peer',
      record: nodeRecord(3, { announced: { 4: announcement(2), 6: undefined } }),
      why: 'it announces the key of node-2',
    },
    {
      what: 'that of a peer, by an older node',
      record: nodeRecord(3, { createdAt: 1, announced: { 4: announcement(2), 6: undefined } }),
      why: 'it announces the key of node-2',
    },
  ])('$what: the owner keeps its tunnel, the other gets none', ({ record, why }) => {
    const before = settle([nodeRecord(1), nodeRecord(2)])
    const view = { ...before.view, nodes: viewOf([nodeRecord(1), nodeRecord(2), record]).nodes }
    const plan = planFamily(before.plan.lanes, view)
    expect(plan.peers.get(name(2))?.phase).toBe('encrypting')
    expect(plan.peers.get(name(3))).toEqual({ phase: 'absent', reason: why })
    expect(plan.refused.get(name(3))).toContain(why)
    expect([...mainPeers(plan).keys()]).toEqual([publicKey(2)])
    expect(plannedRoutes(plan).find(({ destination }) => destination === podCidr(3))?.type).toBe('throw')
  })

  test('one that a node announced as its next is not taken away by an older node that copies it', () => {
    const before = settle([nodeRecord(1), nodeRecord(2)])
    const renewed = nodeRecord(2, { announced: { 4: announcement(2, { publicKey: publicKey(9) }), 6: undefined } })
    const seen = planFamily(before.plan.lanes, { ...before.view, nodes: viewOf([nodeRecord(1), renewed]).nodes })
    expect(seen.peers.get(name(2))).toMatchObject({ phase: 'encrypting', candidate: publicKey(9) })
    const thief = nodeRecord(3, {
      createdAt: 1,
      announced: { 4: announcement(3, { publicKey: publicKey(9) }), 6: undefined },
    })
    const after = planFamily(seen.lanes, { ...before.view, nodes: viewOf([nodeRecord(1), renewed, thief]).nodes })
    expect(after.peers.get(name(2))).toMatchObject({ phase: 'encrypting', key: publicKey(2), candidate: publicKey(9) })
    expect(after.peers.get(name(3))?.phase).toBe('absent')
  })

  test('one of somebody elsewhere is never taken for the node’s, however often its endpoint is looked at', () => {
    const before = settle([nodeRecord(1), nodeRecord(2)])
    const forged = publicKey(9)
    const records = [
      nodeRecord(1),
      nodeRecord(2, { announced: { 4: announcement(2, { publicKey: forged }), 6: undefined } }),
    ]
    let { lanes } = before.plan
    let view: FamilyView = { ...before.view, nodes: viewOf(records).nodes }
    const device = new Map(view.lanes.main.kernel.peers)
    for (let round = 0; round < 6; round++) {
      const plan = planFamily(lanes, view)
      lanes = plan.lanes
      const { additions } = diffPeers(mainPeers(plan), device, new Map())
      for (const change of additions)
        if (change.kind === 'set') {
          const peer = device.get(change.publicKey) ?? peerStatus(change.publicKey)
          device.set(change.publicKey, { ...peer, endpoint: change.endpoint ?? peer.endpoint })
        }
      // He shakes hands once, from where he is.
      if (round === 1) device.set(forged, peerStatus(forged, { latestHandshake: 7n, endpoint: endpointOf(66) }))
      // And writes another port to the Node, which would have the endpoint written anew.
      const port = round < 3 ? 51820 : 51822
      const moved = nodeRecord(2, { announced: { 4: announcement(2, { publicKey: forged, port }), 6: undefined } })
      const kernel = { ...view.lanes.main.kernel, peers: new Map(device) }
      view = withMain({ ...view, nodes: viewOf([nodeRecord(1), moved]).nodes }, { kernel })
    }
    expect(lanes.main.get(name(2))).toMatchObject({ phase: 'encrypting', key: publicKey(2), candidate: forged })
  })
})

describe('pod CIDRs that overlap', () => {
  const inside = parseCidr('10.244.2.128/25')

  test.each([
    ['the same', podCidr(2), '10.244.2.0/24 belongs to node-2'],
    ['one inside', inside, '10.244.2.128/25 lies inside 10.244.2.0/24 of node-2'],
  ])('%s: it stays with its first owner, and the other node is told', (_, cidr, why) => {
    const settled = settle([nodeRecord(1), nodeRecord(2), nodeRecord(3, { podCidrs: [podCidr(3), cidr] })])
    expect(settled.plan.refused.get(name(3))).toEqual([why])
    expect(mainPeers(settled.plan).get(publicKey(3))?.allowedIps.has(cidr)).toBe(false)
    expect(mainPeers(settled.plan).get(publicKey(2))?.allowedIps.has(podCidr(2))).toBe(true)
  })

  test.each([
    ['around those of older nodes', 9_000, ['10.244.2.0/24'], []],
    ['around those of younger nodes', 1, [], ['10.244.0.0/16']],
  ])('%s: the older keep theirs', (_, createdAt, kept, taken) => {
    const records = [
      nodeRecord(2, { podCidrs: [parseCidr('10.244.2.128/25'), podCidr(2)] }),
      nodeRecord(3, { createdAt, podCidrs: [parseCidr('10.244.0.0/16')] }),
    ]
    const { owner } = claimCidrs(records, podCidrSource, 4)
    const owned = (node: number) => [...owner].filter(([, holder]) => holder === name(node)).map(([cidr]) => cidr)
    expect(owned(2).filter(cidr => cidr === podCidr(2))).toEqual(kept)
    expect(owned(3)).toEqual(taken)
    // What lies inside one that was refused is inside of the other all the same.
    if (taken.length > 0) expect(owned(2)).toEqual([])
  })

  test('an address that two nodes have is the older one’s, on every node alike', () => {
    const twins = [nodeRecord(2), nodeRecord(3, { addresses: [parseAddress('10.200.0.2')] })]
    for (const order of [twins, twins.toReversed()]) {
      const { plan } = settle([nodeRecord(1), ...order])
      const address = hostCidr(parseAddress('10.200.0.2'))
      expect(mainPeers(plan).get(publicKey(2))?.allowedIps.has(address)).toBe(true)
      expect(mainPeers(plan).get(publicKey(3))?.allowedIps.has(address)).toBe(false)
      expect(plan.refused.get(name(3))).toContain('10.200.0.2 belongs to node-2')
      // For its pods it makes no difference.
      expect(plan.peers.get(name(3))?.phase).toBe('encrypting')
    }
  })

  test('an address inside another node’s pods is not to be had', () => {
    const thief = nodeRecord(3, { addresses: [parseAddress('10.244.2.10'), parseAddress('10.200.0.3')] })
    const { plan } = settle([nodeRecord(1), nodeRecord(2), thief])
    const held = mainPeers(plan).get(publicKey(3))?.allowedIps
    expect(held?.has(hostCidr(parseAddress('10.244.2.10')))).toBe(false)
    expect(held?.has(hostCidr(parseAddress('10.200.0.3')))).toBe(true)
  })

  test('are resolved alike on every node, in whatever order the nodes are seen', () => {
    fc.assert(
      fc.property(arbitraryMesh, fc.infiniteStream(fc.nat()), (records, keys) => {
        const shuffled = records
          .map(record => ({ record, at: keys.next().value ?? 0 }))
          .sort((a, b) => a.at - b.at)
          .map(({ record }) => record)
        const [one, other] = [records, shuffled].map(all => claimCidrs(all, podCidrSource, 4))
        expect(new Map(other?.owner)).toEqual(new Map(one?.owner))
        expect(sorted(other?.refused)).toEqual(sorted(one?.refused))
      }),
    )
  })
})

const sorted = (refused: ReadonlyMap<NodeName, readonly string[]> | undefined) =>
  [...(refused ?? [])].map(([node, faults]) => [node, [...faults].sort()]).sort()

describe('a key that an older node copies, as a node sees it that comes anew', () => {
  const owner = nodeRecord(3)
  const felixOwner = nodeRecord(3, { announced: { 4: announcement(3, { hello: undefined }), 6: undefined } })
  const thief = nodeRecord(2, {
    createdAt: 1,
    announced: { 4: announcement(2, { publicKey: publicKey(3) }), 6: undefined },
  })
  /** With what a plan asks for on its device, and the handshakes that there were. */
  const carriedOut = (view: FamilyView, plan: FamilyPlan, called?: { readonly from: number; readonly at: bigint }) => {
    const peers = new Map(
      Array.from(mainPeers(plan), ([key, { allowedIps, endpoint }]) => [
        key,
        peerStatus(key, {
          allowedIps,
          endpoint: called ? endpointOf(called.from) : endpoint,
          latestHandshake: called?.at ?? 0n,
        }),
      ]),
    )
    const kernel = { ...view.lanes.main.kernel, peers }
    return withMain({ ...view, now: view.now + 1_000 }, { kernel })
  }

  test.each([
    ['in whatever order they are seen', [thief, owner]],
    ['in whatever order they are seen, the other way round', [owner, thief]],
  ])('is on the device without addresses, and nobody is dialled with it, %s', (_, others) => {
    const plan = planFamily(NO_STATES, viewOf([nodeRecord(1), ...others]))
    expect(new Map(mainPeers(plan))).toEqual(
      new Map([
        [publicKey(3), { endpoint: undefined, mayRoamTo: 'anywhere', allowedIps: new Set(), persistentKeepalive: 0 }],
      ]),
    )
    for (const node of [name(2), name(3)]) {
      expect(plan.peers.get(node)).toMatchObject({ phase: 'absent', contested: { key: publicKey(3) } })
      expect(plan.refused.get(node)?.[0]).toContain('node-2 and node-3 announce one key')
    }
  })

  test('is taken for the owner’s by the handshake that the owner begins, and the other is refused', () => {
    const view = viewOf([nodeRecord(1), thief, owner])
    const held = planFamily(NO_STATES, view)
    const plan = planFamily(held.lanes, carriedOut(view, held, { from: 3, at: 5n }))
    expect(plan.peers.get(name(3))).toMatchObject({ phase: 'accepting', key: publicKey(3) })
    expect(plan.peers.get(name(2))).toEqual({ phase: 'absent', reason: 'it announces the key of node-3' })
    expect(mainPeers(plan).get(publicKey(3))?.allowedIps).toContain(podCidr(3))
    expect(mainPeers(plan).get(publicKey(3))?.endpoint).toEqual(endpointOf(3))
  })

  test('is proven by that handshake, where the owner is a Felix node', () => {
    let view = viewOf([nodeRecord(1), thief, felixOwner])
    let plan = planFamily(NO_STATES, view)
    view = carriedOut(view, plan)
    plan = planFamily(plan.lanes, view)
    for (let round = 0; round < 2; round++) {
      view = carriedOut(view, plan, { from: 3, at: 5n })
      plan = planFamily(plan.lanes, view)
    }
    expect(plan.peers.get(name(3))?.phase).toBe('encrypting')
  })

  test('is not kept by the thief who had it while the owner was away: the owner’s call takes it', () => {
    const alone = viewOf([nodeRecord(1), thief])
    const believed = planFamily(NO_STATES, alone)
    expect(believed.peers.get(name(2))).toMatchObject({ phase: 'accepting', key: publicKey(3) })
    const both = { ...alone, nodes: viewOf([nodeRecord(1), thief, owner]).nodes }
    const back = planFamily(believed.lanes, carriedOut(both, believed))
    expect(back.peers.get(name(3))?.phase).toBe('absent')
    const plan = planFamily(back.lanes, carriedOut(both, back, { from: 3, at: 5n }))
    expect(plan.peers.get(name(3))).toMatchObject({ phase: 'accepting', key: publicKey(3) })
    expect(plan.peers.get(name(2))).toEqual({ phase: 'absent', reason: 'it announces the key of node-3' })
    expect([...mainPeers(plan).keys()]).toEqual([publicKey(3)])
  })

  test('is nobody’s to be waited for before our own key is announced, but on the device by then', () => {
    const view = viewOf([nodeRecord(1, { announced: { 4: undefined, 6: undefined } }), thief, owner])
    const held = planFamily(NO_STATES, view)
    expect(held.announce).toBeUndefined()
    expect(planFamily(held.lanes, carriedOut(view, held)).announce?.publicKey).toBe(publicKey(1))
  })
})

test('the next key of a node, copied by a newcomer before it was seen, leaves the tunnel that there is', () => {
  const before = settle([nodeRecord(1), nodeRecord(3)])
  const renewed = nodeRecord(3, { announced: { 4: announcement(3, { publicKey: publicKey(9) }), 6: undefined } })
  const thief = nodeRecord(2, {
    createdAt: 1,
    announced: { 4: announcement(2, { publicKey: publicKey(9) }), 6: undefined },
  })
  const nodes = viewOf([nodeRecord(1), thief, renewed]).nodes
  const plan = planFamily(before.plan.lanes, { ...before.view, nodes })
  expect(plan.peers.get(name(3))).toMatchObject({ phase: 'encrypting', key: publicKey(3), candidate: publicKey(9) })
})

/** A few nodes with whatever claims: pods that overlap, keys that others have, addresses inside others' pods. */
const arbitraryMesh: fc.Arbitrary<readonly NodeRecord[]> = fc
  .array(
    fc.record({
      createdAt: fc.integer({ min: 1, max: 3 }),
      podCidrs: fc.uniqueArray(
        fc.constantFrom(
          ...[
            '10.244.0.0/16',
            '10.244.1.0/24',
            '10.244.2.0/24',
            '10.244.2.128/25',
            '10.244.3.0/24',
            '10.200.0.0/24',
          ].map(parseCidr),
        ),
        { maxLength: 3 },
      ),
      addresses: fc.uniqueArray(
        fc.constantFrom(...['10.200.0.2', '10.200.0.3', '10.244.2.9', '10.244.3.1'].map(parseAddress)),
        {
          maxLength: 2,
        },
      ),
      key: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
      hello: fc.constantFrom(1, undefined),
      device: fc.constantFrom(undefined, ...['10.244.2.1', '10.244.3.1'].map(parseAddress)),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map(all => [
    nodeRecord(1, { createdAt: 2 }),
    ...all.map(({ createdAt, podCidrs, addresses, key, hello, device }, index) =>
      nodeRecord(index + 2, {
        createdAt,
        podCidrs,
        addresses,
        announced: {
          4: key === undefined ? undefined : announcement(key, { hello, interfaceAddress: device }),
          6: undefined,
        },
      }),
    ),
  ])

describe('whatever the cluster claims', () => {
  const always = (holds: (settled: Settled) => void): void =>
    fc.assert(
      fc.property(arbitraryMesh, fc.func<[NodeName], boolean>(fc.boolean()), (records, proven) =>
        holds(settle(records, proven)),
      ),
      { numRuns: 300 },
    )

  test('no prefix is among the allowed IPs of two peers', () => {
    always(({ plan }) => {
      const held = [...mainPeers(plan).values()].flatMap(({ allowedIps }) => [...allowedIps])
      expect(new Set(held).size).toBe(held.length)
    })
  })

  test('no prefix of a peer lies inside that of another, unless a claim on it was refused', () => {
    always(({ plan, view }) => {
      const { owner } = claimCidrs(view.nodes.values(), podCidrSource, 4)
      for (const [key, { allowedIps }] of mainPeers(plan))
        for (const [other, { allowedIps: others }] of mainPeers(plan))
          for (const one of allowedIps)
            for (const outer of others)
              if (key !== other && owner.get(outer) !== undefined)
                expect(cidrContains(outer, one), `${one} in ${outer}`).toBe(false)
    })
  })

  test('nothing is steered into the tunnel that no peer holds', () => {
    always(({ plan }) => {
      const held = [...mainPeers(plan).values()].flatMap(({ allowedIps }) => [...allowedIps])
      for (const { type, table, destination } of plannedRoutes(plan))
        if (type === 'unicast' && table !== 3)
          expect(
            held.some(cidr => cidrContains(cidr, destination)),
            destination,
          ).toBe(true)
    })
  })

  test('nothing of ours is steered into the tunnel, and no peer has our key', () => {
    always(({ plan, view }) => {
      expect(mainPeers(plan).has(privateKey(1).publicKey())).toBe(false)
      const own = view.nodes.get(name(1))
      const { owner } = claimCidrs(view.nodes.values(), podCidrSource, 4)
      for (const cidr of own?.podCidrs ?? [])
        if (owner.get(cidr) === name(1))
          expect(plannedRoutes(plan).find(({ destination, table }) => destination === cidr && table === 1)?.type).toBe(
            'throw',
          )
    })
  })

  test('every peer that is not encrypted says why', () => {
    always(({ plan }) => {
      for (const { reason } of plan.peers.values()) expect(reason).not.toBe('')
    })
  })

  test('a plan that was carried out asks for nothing more', () => {
    always(({ plan, view }) => {
      const again = planFamily(plan.lanes, view)
      expect(mainPeers(again)).toEqual(mainPeers(plan))
      expect(plannedRoutes(again)).toEqual(plannedRoutes(plan))
    })
  })
})

describe('a peer behind a gateway that translates addresses', () => {
  const GATEWAY = parseAddress('198.51.100.7')
  const LISTED = [parseCidr('198.51.100.0/24')]
  const minutes = (count: number) => count * 60_000

  /** Node 2 as it is wanted, and all that is written, when it was last heard from there at minute 100 and it is `at` now. */
  const heardFrom = (endpoint: Endpoint, at: number, fields: Partial<FamilyView> = {}) => {
    const { plan, view } = settle([nodeRecord(1), nodeRecord(2), nodeRecord(3)])
    const peers = new Map(view.lanes.main.kernel.peers)
    peers.set(publicKey(2), peerStatus(publicKey(2), { ...peers.get(publicKey(2)), endpoint, latestHandshake: HEARD }))
    const kernel = { ...view.lanes.main.kernel, peers }
    const next = planFamily(plan.lanes, withMain({ ...view, wallTime: minutes(at), ...fields }, { kernel }))
    const { additions, removals } = diffPeers(mainPeers(next), peers, new Map())
    return { keepalive: mainPeers(next).get(publicKey(2))?.persistentKeepalive, writes: [...additions, ...removals] }
  }
  const HEARD = BigInt(minutes(100)) * 1_000_000n
  const THERE = { address: GATEWAY, port: 40_000 }
  const home = { kind: 'set', publicKey: publicKey(2), updateOnly: true, endpoint: endpointOf(2) }
  const kept = { keepalive: 25, writes: [{ ...home, endpoint: undefined, persistentKeepalive: 25 }] }

  test('is sent to where it was heard from and kept in touch with, while its handshakes are fresh', () => {
    expect(heardFrom(THERE, 102)).toEqual(kept)
  })

  test('is dialled at its own address again when they are stale, and no other peer is written', () => {
    expect(heardFrom(THERE, 103)).toEqual({ keepalive: 0, writes: [home] })
  })

  test('is as stale when the clock was set back', () => {
    expect(heardFrom(THERE, 97)).toEqual({ keepalive: 0, writes: [home] })
  })

  test('is known by another port than it publishes', () => {
    expect(heardFrom(endpointOf(2, 40_000), 102)).toEqual(kept)
    expect(heardFrom(endpointOf(2, 40_000), 103)).toEqual({ keepalive: 0, writes: [home] })
  })

  test('is none where it is heard from as it publishes, however long ago', () => {
    expect(heardFrom(endpointOf(2), 200)).toEqual({ keepalive: 0, writes: [] })
  })

  test('has its own keepalive where one is configured', () => {
    const config = { ...CONFIG, persistentKeepalive: 7 }
    expect(heardFrom(THERE, 102, { config }).keepalive).toBe(7)
  })

  test('where endpoints are pinned, is sent to where it was heard from if the gateway is listed', () => {
    expect(heardFrom(THERE, 102, { pinsEndpoints: true, natExceptions: LISTED })).toEqual(kept)
  })

  test('where endpoints are pinned, is dialled at its own address otherwise', () => {
    const nowhere = { address: parseAddress('203.0.113.7'), port: 40_000 }
    const written = { keepalive: 0, writes: [home] }
    expect(heardFrom(THERE, 102, { pinsEndpoints: true })).toEqual(written)
    expect(heardFrom(nowhere, 102, { pinsEndpoints: true, natExceptions: LISTED })).toEqual(written)
  })

  test('is no gateway where its Node was until a moment ago: it is dialled at its new address, until it shakes hands from the old one', () => {
    const leftAt = (minute: number, node = 2) => new Map([[name(node), new Map([[GATEWAY, minutes(minute)]])]])
    expect(heardFrom(THERE, 102, { left: leftAt(101) })).toEqual({ keepalive: 0, writes: [home] })
    expect(heardFrom(THERE, 102, { left: leftAt(99) })).toEqual(kept)
    expect(heardFrom(THERE, 102, { left: leftAt(101, 3) })).toEqual(kept)
  })

  test.each([
    { where: 'behind the same gateway', address: GATEWAY, pinsEndpoints: false, phase: 'taken' },
    { where: 'somewhere else', address: parseAddress('203.0.113.7'), pinsEndpoints: false, phase: 'waits' },
    { where: 'behind a gateway that is not listed, with pins', address: GATEWAY, pinsEndpoints: true, phase: 'waits' },
  ])('whose new key comes from $where: $phase', ({ address, pinsEndpoints, phase }) => {
    const before = settle([nodeRecord(1), nodeRecord(2)])
    const renewed = nodeRecord(2, { announced: { 4: announcement(2, { publicKey: publicKey(9) }), 6: undefined } })
    const records = { nodes: viewOf([nodeRecord(1), renewed]).nodes, pinsEndpoints, wallTime: minutes(100) }
    const seen = planFamily(before.plan.lanes, { ...before.view, ...records })
    const at = (key: PublicKey, address: IpAddress) =>
      peerStatus(key, { endpoint: { address, port: 40_000 }, latestHandshake: HEARD })
    const peers = new Map(
      [publicKey(2), publicKey(9)].map(key => [key, at(key, key === publicKey(2) ? GATEWAY : address)]),
    )
    const kernel = { ...before.view.lanes.main.kernel, peers }
    const after = planFamily(seen.lanes, withMain({ ...before.view, ...records }, { kernel }))
    const key = phase === 'taken' ? publicKey(9) : publicKey(2)
    expect(after.peers.get(name(2))).toMatchObject({ phase: 'encrypting', key })
  })
})

describe('a node without an address of the family', () => {
  const nowhere = nodeRecord(2, { addresses: [] })

  test('is a peer without an endpoint, which says that it has to call', () => {
    const { plan } = settle([nodeRecord(1), nowhere], () => false)
    expect(mainPeers(plan).get(publicKey(2))).toMatchObject({ endpoint: undefined })
    const silent = new Map([[publicKey(2), peerStatus(publicKey(2))]])
    const kernel = { up: true, peers: silent, steered: new Set<Cidr>() }
    const view = viewOf([nodeRecord(1), nowhere], { main: { kernel } })
    expect(planFamily(plan.lanes, view).peers.get(name(2))).toMatchObject({
      phase: 'accepting',
      reason: expect.stringContaining('has not called'),
    })
  })

  test('is sent to where it calls from, and that is not written over', () => {
    const { plan, view } = settle([nodeRecord(1), nowhere])
    const called = peerStatus(publicKey(2), {
      ...view.lanes.main.kernel.peers.get(publicKey(2)),
      endpoint: endpointOf(66),
    })
    const kernel = { ...view.lanes.main.kernel, peers: new Map([[publicKey(2), called]]) }
    const next = planFamily(plan.lanes, withMain(view, { kernel }))
    expect(next.peers.get(name(2))?.phase).toBe('encrypting')
    const { additions } = diffPeers(mainPeers(next), kernel.peers, new Map())
    expect(additions).toMatchObject([{ persistentKeepalive: 25 }])
    expect(additions[0]).not.toHaveProperty('endpoint', endpointOf(2))
  })

  test('is none of a node that has none either', () => {
    const { plan } = settle([nodeRecord(1, { addresses: [] }), nowhere])
    expect(plan.peers.get(name(2))).toEqual({ phase: 'absent', reason: 'neither it nor this node has an IPv4 address' })
  })
})

describe('with host encryption', () => {
  const TABLE = 5
  const config = { ...CONFIG, tables: { ...CONFIG.tables, hosts: TABLE }, hostTable: TABLE }
  const hosts = { source: parseAddress('10.200.0.1'), mute: new Set<PublicKey>() }
  const both = (index: number) =>
    nodeRecord(index, { announced: { 4: announcement(index, { encryptsHosts: true }), 6: undefined } })

  /** What node 1 steers of what it sends itself, to a settled peer of which this is known now. */
  function steeredTo(
    peer: NodeRecord,
    { begun = false, hello = { steers: true }, ...fields }: Partial<FamilyView> & Known = {},
  ) {
    const { plan, view } = settle([both(1), peer])
    const heard = view.lanes.main.hellos.get(name(2))
    const hellos = new Map(heard && hello ? [[name(2), { ...heard, ...hello }]] : [])
    const kernel = { ...view.lanes.main.kernel, steeredHosts: new Set(begun ? [parseCidr('10.200.0.2/32')] : []) }
    const next = planFamily(plan.lanes, withMain({ ...view, config, hosts, ...fields }, { kernel, hellos }))
    return plannedRoutes(next).filter(({ table }) => table === TABLE)
  }
  interface Known {
    readonly begun?: boolean
    readonly hello?: { readonly steers: boolean } | null
  }
  const route = { table: TABLE, type: 'unicast', device: CONFIG.interfaceName, source: '10.200.0.1' }
  const STEERED = [{ ...route, destination: '10.200.0.2/32' }]
  const mute = { hosts: { ...hosts, mute: new Set([publicKey(2)]) } }

  test('a node’s own addresses are steered to, from our own, once it has said that it steers to us', () => {
    expect(steeredTo(both(2))).toEqual(STEERED)
  })

  test('nothing is before, nor while it has said nothing', () => {
    expect(steeredTo(both(2), { hello: { steers: false } })).toEqual([])
    expect(steeredTo(both(2), { hello: null })).toEqual([])
  })

  test('nothing is where only one of the two has it on', () => {
    expect(steeredTo(nodeRecord(2))).toEqual([])
    expect(steeredTo(both(2), { hosts: undefined, config: CONFIG })).toEqual([])
  })

  test('what has begun goes on while nothing is heard, as when agents restart', () => {
    expect(steeredTo(both(2), { begun: true, hello: null })).toEqual(STEERED)
  })

  test('what has begun ends when it says that it steers no more, or its tunnel is mute', () => {
    expect(steeredTo(both(2), { begun: true, hello: { steers: false } })).toEqual([])
    expect(steeredTo(both(2), { begun: true, ...mute })).toEqual([])
  })

  test('under enforce what has begun goes on', () => {
    const pinned = { begun: true, pinsEndpoints: true }
    expect(steeredTo(both(2), { ...pinned, hello: { steers: false } })).toEqual(STEERED)
    expect(steeredTo(both(2), { ...pinned, ...mute })).toEqual(STEERED)
  })

  test('a mute tunnel is asked again and again', () => {
    const { plan, view } = settle([both(1), both(2)])
    const next = planFamily(plan.lanes, { ...view, config, ...mute })
    expect(mainPeers(next).get(publicKey(2))?.persistentKeepalive).toBe(25)
  })

  test('only what this host sends itself looks at those routes, and not what carries the mark', () => {
    const { plan, view } = settle([both(1), both(2)])
    const { rules } = planFamily(plan.lanes, { ...view, config, hosts }).desired
    const selector = { inputInterface: 'lo', fwmark: 0, fwmask: CONFIG.mark, invert: false, source: undefined }
    expect(rules.filter(({ table }) => table === TABLE)).toMatchObject([
      { ...selector, priority: CONFIG.rulePriority + 1 },
    ])
    expect(plan.desired.rules.filter(({ inputInterface }) => inputInterface === 'lo')).toEqual([])
  })

  test('is what the node announces of itself', () => {
    const { plan, view } = settle([both(1), both(2)])
    expect(plan.announce).not.toHaveProperty('encryptsHosts')
    expect(planFamily(plan.lanes, { ...view, config, hosts }).announce).toHaveProperty('encryptsHosts', true)
  })
})

describe('without routes (routeSyncDisabled)', () => {
  test('peers are accepted and nothing is steered, until there are routes again', () => {
    const before = settle([nodeRecord(1), nodeRecord(2)])
    expect(before.plan.peers.get(name(2))?.phase).toBe('encrypting')
    const without = { ...before.view, routeSync: false }
    const plan = planFamily(before.plan.lanes, without)
    expect(plan.peers.get(name(2))).toMatchObject({
      phase: 'accepting',
      reason: expect.stringContaining('routeSyncDisabled'),
    })
    expect(plannedRoutes(plan).map(({ table }) => table)).toEqual([CONFIG.tables.device])
    expect(plan.desired.rules).toEqual(before.plan.desired.rules)
    expect(mainPeers(plan).get(publicKey(2))?.allowedIps).toEqual(mainPeers(before.plan).get(publicKey(2))?.allowedIps)
    const later = planFamily(plan.lanes, { ...without, now: without.now + 1_000 })
    expect(later.peers.get(name(2))).toMatchObject({ since: without.now })
  })
})

describe('a peer that lingers', () => {
  test('keeps what it holds, but for what somebody else needs now', () => {
    const before = settle([nodeRecord(1), nodeRecord(2), nodeRecord(3)])
    const moved = nodeRecord(3, { podCidrs: [podCidr(3), podCidr(2)] })
    const view = { ...before.view, nodes: viewOf([nodeRecord(1), moved]).nodes }
    const plan = planFamily(before.plan.lanes, view)
    expect(plan.peers.get(name(2))?.phase).toBe('lingering')
    const device = nthAddress(podCidr(2), 1)
    expect([...(mainPeers(plan).get(publicKey(2))?.allowedIps ?? [])].sort()).toEqual(['10.200.0.2/32', `${device}/32`])
    expect(mainPeers(plan).get(publicKey(3))?.allowedIps.has(podCidr(2))).toBe(true)
  })

  test('is told that nothing is accepted and whether anything is still steered', () => {
    const before = settle([nodeRecord(1), nodeRecord(2)])
    const view = {
      ...before.view,
      nodes: viewOf([nodeRecord(1), nodeRecord(2, { announced: { 4: undefined, 6: undefined } })]).nodes,
    }
    const plan = planFamily(before.plan.lanes, view)
    expect(hellosOf(view, 'main', plan.lanes.main).get(name(2))).toEqual({
      accepts: undefined,
      steers: true,
      parked: false,
    })
    const stopped = withMain(view, { kernel: { ...view.lanes.main.kernel, steered: new Set<Cidr>() } })
    expect(hellosOf(stopped, 'main', plan.lanes.main).get(name(2))).toEqual({
      accepts: undefined,
      steers: false,
      parked: false,
    })
  })

  test('is told nothing by an address that is somebody else’s by now', () => {
    const before = settle([nodeRecord(1), nodeRecord(2)])
    const nodes = viewOf([nodeRecord(1), nodeRecord(2, { announced: { 4: undefined, 6: undefined } })]).nodes
    const plan = planFamily(before.plan.lanes, { ...before.view, nodes })
    const peers = new Map([[publicKey(2), peerStatus(publicKey(2), { allowedIps: new Set([podCidr(2)]) })]])
    const view = withMain(before.view, { kernel: { ...before.view.lanes.main.kernel, peers } })
    expect(hellosOf(view, 'main', plan.lanes.main).size).toBe(0)
  })
})
