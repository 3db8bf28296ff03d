import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PublicKey } from '#keys/public-key.ts'
import { CidrOwners } from '#src/mesh/cidr-owners.ts'
import { type CidrSource, podCidrClaimant } from '#src/mesh/claims.ts'
import { digestOf } from '#src/mesh/digest.ts'
import type { FamilyView, HostFacts } from '#src/mesh/family-view.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import { type LaneStates, NO_STATES } from '#src/mesh/lanes.ts'
import { LANES, type Lane, type NodeName, type NodeRecord } from '#src/mesh/node-record.ts'
import { type FamilyPlan, planFamily, planInSlices } from '#src/mesh/plan.ts'
import { PlanMemory } from '#src/mesh/plan-memory.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { type Cidr, hostCidr, nthAddress, parseAddress, parseCidr } from '#wg/ip.ts'
import type { DesiredPeer, DesiredRoute } from '#wg/reconcile/desired.ts'
import { DeviceMirror } from '#wg/reconcile/device-mirror.ts'
import { diffPeers, type PeerOperations } from '#wg/reconcile/peers.ts'
import { atOnce } from '#wg/slices.ts'
import { Table } from '#wg/table.ts'
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
} from './records.ts'
import { CONFIG } from './world.ts'

/** Nodes as the agent has them: owners that are kept up, in a map that changes in place. */
class Cluster implements CidrSource {
  readonly nodes = new Table<NodeName, NodeRecord>()
  readonly #owners = new CidrOwners()

  put(record: NodeRecord): void {
    this.nodes.set(record.name, record)
    this.#owners.put(podCidrClaimant(record))
  }

  drop(node: NodeName): void {
    this.nodes.delete(node)
    this.#owners.remove(node)
  }

  prefixes(node: NodeRecord): Iterable<Cidr> {
    return node.podCidrs
  }

  owners(_: Iterable<NodeRecord>, family: 4 | 6) {
    return { owner: this.#owners.owner(family), refused: this.#owners.refused(family) }
  }
}

const ALL_WHOLE: ReadonlyMap<NodeName, number> = new Map()

const SPARE = 'wg-spare.cali'

const NO_GATEWAYS: readonly Cidr[] = []

/** A node's agent without the world around it: what it plans goes into its kernel. */
class Agent {
  readonly cluster = new Cluster()
  readonly memory = new PlanMemory()
  readonly mirrors = { main: new DeviceMirror(CONFIG.interfaceName), spare: new DeviceMirror(SPARE) }
  readonly hellos = { main: new Table<NodeName, HeardHello>(), spare: new Table<NodeName, HeardHello>() }
  states: LaneStates = NO_STATES
  steered: ReadonlySet<Cidr> = new Set()
  steeredHosts: ReadonlySet<Cidr> = new Set()
  fields: Partial<FamilyView> = {}
  now = 1_000

  readonly #most: number

  /** @param most how many nodes are looked at in one piece */
  constructor(most = Number.POSITIVE_INFINITY) {
    this.#most = most
    this.cluster.put(nodeRecord(1))
  }

  view(): FamilyView {
    const { cluster, mirrors, hellos, steered, steeredHosts, now } = this
    const identity = { name: CONFIG.interfaceName, listenPort: CONFIG.listenPort, privateKey: privateKey(1) }
    const main = { up: true, peers: mirrors.main.peers, steered, steeredHosts }
    const spare = { up: true, peers: mirrors.spare.peers, steered, steeredHosts }
    const wallTime = now
    const lanes = {
      main: { identity, kernel: main, hellos: hellos.main },
      spare: { identity: { ...identity, name: SPARE, listenPort: 51_822 }, kernel: spare, hellos: hellos.spare },
    }
    // What an agent gives anew for each plan is remembered by nobody.
    const known = {
      nodes: cluster.nodes,
      cidrSource: cluster,
      natExceptions: NO_GATEWAYS,
      pathMtus: ALL_WHOLE,
      now,
      wallTime,
    }
    return { ...viewOf([]), lanes, ...known, ...this.fields }
  }

  pass(): void {
    const before = copied(this.states)
    const plan = this.#plan()
    expect(inOrder(plan)).toEqual(inOrder(planFamily(before, this.view())))
    this.#carryOut(plan)
  }

  /** @param meanwhile what happens while the plan is made */
  interruptedPass(meanwhile: readonly (Happening | null)[]): void {
    const plan = this.#plan(meanwhile)
    const again = planFamily(copied(plan.lanes), this.view())
    // What follows from its own steps, on either device, and where its traffic is to go, is of the next plan.
    const settled = sameStates(again.lanes, plan.lanes) && again.moving.move === plan.moving.move
    if (settled) expect(inOrder(plan).desired).toEqual(inOrder(again).desired)
    this.#carryOut(plan)
  }

  #plan(meanwhile: readonly (Happening | null)[] = []): FamilyPlan {
    const left = [...meanwhile]
    const steps = planInSlices(this.states, () => this.view(), this.memory, this.#most)
    for (;;) {
      const { done, value } = steps.next()
      if (done) return value
      left.shift()?.(this)
    }
  }

  #carryOut(plan: FamilyPlan): void {
    this.states = plan.lanes
    for (const mirror of Object.values(this.mirrors)) carryOut(mirror, plan)
    const inHostTable = (route: DesiredRoute) => route.table === HOST_TABLE || route.table === OTHER_HOST_TABLE
    const unicast = plannedRoutes(plan).filter(({ type }) => type === 'unicast')
    this.steered = kept(this.steered, destinations(unicast.filter(route => !inHostTable(route))))
    this.steeredHosts = kept(this.steeredHosts, destinations(unicast.filter(inHostTable)))
  }
}

type Happening = (agent: Agent) => void

const sameStates = (a: LaneStates, b: LaneStates): boolean =>
  LANES.every(
    lane => a[lane].size === b[lane].size && [...a[lane]].every(([name, state]) => b[lane].get(name) === state),
  )

const copied = ({ main, spare }: LaneStates): LaneStates => ({ main: new Map(main), spare: new Map(spare) })

/** What the plan asks of a device is done, and is what a comparison of everything asks for. */
function carryOut(mirror: DeviceMirror, { desired }: FamilyPlan): void {
  const { peers, writtenEndpoints, differences } = mirror
  const wanted = desired.devices.find(({ name }) => name === mirror.name)?.peers ?? NOBODY
  const operations = atOnce(differences.find(wanted, peers, writtenEndpoints))
  expect(byKey(operations)).toEqual(byKey(diffPeers(wanted, peers, writtenEndpoints)))
  for (const change of [...operations.additions, ...operations.removals]) mirror.notePeer(change)
}

const NOBODY = new Table<PublicKey, DesiredPeer>()

/** What is in no order that means anything, in one. */
const inOrder = ({ desired, moving, ...plan }: FamilyPlan) => ({
  ...plan,
  desired: { ...desired, routes: new Map(desired.routes) },
  moving: { ...moving, waitsFor: new Set(moving.waitsFor) },
})

const byKey = ({ additions, removals }: PeerOperations) => [additions, removals].map(all => new Set(all))

const destinations = (routes: readonly DesiredRoute[]): Set<Cidr> => new Set(routes.map(route => route.destination))

/** The same set where it says the same, as an agent's kernel gives it. */
const kept = <Item>(before: ReadonlySet<Item>, after: ReadonlySet<Item>): ReadonlySet<Item> =>
  before.size === after.size && before.isSubsetOf(after) ? before : after

const HOST_TABLE = 5
const OTHER_HOST_TABLE = 6

const withHosts = (hosts: number) => ({ ...CONFIG, tables: { ...CONFIG.tables, hosts }, hostTable: hosts })
const CONFIGS = [withHosts(HOST_TABLE), withHosts(OTHER_HOST_TABLE), { ...CONFIG, persistentKeepalive: 30 }] as const

const hostFacts = (source: string, ...mute: number[]): HostFacts => ({
  source: parseAddress(source),
  mute: new Set(mute.map(publicKey)),
})

const DEVICE = { name: CONFIG.interfaceName, publicKey: undefined, privateKey: undefined }

const AWAY = { publicKey: publicKey(8), port: 51822, move: 'away' as const }

const OWN_ADDRESSES = [podCidr(1), parseCidr('10.244.1.1/32'), parseCidr('10.200.0.1/32')]

const mostly = <Value>(usual: Value, ...others: Value[]) =>
  fc.oneof({ weight: 6, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(usual, ...others) })

/** A Node is as it should be, but for what it is given here. */
const written = fc.integer({ min: 2, max: 3 }).chain(index =>
  fc
    .record({
      cidrs: mostly([index], [], [2], [3], [2, 3]),
      key: mostly(index, 1, 2, 3, 6),
      address: mostly(index, 1, 2, 3),
      port: mostly(51820, 51999),
      hello: fc.constantFrom(undefined, 1),
      silent: mostly(false, true),
      hosts: mostly(true, false),
      spare: fc.constantFrom(undefined, undefined, { publicKey: publicKey(7), port: 51822, move: undefined }, AWAY),
    })
    .map(({ cidrs, key, address, port, hello, silent, hosts, spare }) => ({ cluster }: Agent) => {
      const interfaceAddress = nthAddress(podCidr(address), 1)
      const said = announcement(key, { interfaceAddress, port, hello, ...(hosts && { encryptsHosts: true }) })
      cluster.put(
        nodeRecord(index, {
          podCidrs: cidrs.map(podCidr),
          addresses: [endpointOf(address).address],
          announced: { 4: silent ? undefined : said, 6: undefined },
          spare: { 4: spare, 6: undefined },
        }),
      )
    }),
)

/** Our own Node as others have it: with our key, not yet with it, or without an address. */
const own = fc
  .record({ published: mostly(true, false), addressed: mostly(true, false), more: mostly(false, true) })
  .map(({ published, addressed, more }) => ({ cluster }: Agent) => {
    cluster.put(
      nodeRecord(1, {
        podCidrs: more ? [podCidr(1), podCidr(9)] : [podCidr(1)],
        announced: { 4: published ? announcement(1) : undefined, 6: undefined },
        ...(!addressed && { addresses: [] }),
      }),
    )
  })

/** All peers shake hands, or one of them, from where they are dialled or from elsewhere. */
const handshake = fc
  .record({ from: fc.constantFrom(undefined, undefined, 2, 3, 8), only: fc.constantFrom(undefined, 0, 1, 2) })
  .map(({ from, only }) => ({ mirrors, now }: Agent) => {
    for (const mirror of Object.values(mirrors)) shakeHands(mirror, now, from, only)
  })

function shakeHands(mirror: DeviceMirror, now: number, from: number | undefined, only: number | undefined): void {
  readAgain(mirror, (peer, place) =>
    only === undefined || only === place
      ? {
          latestHandshake: BigInt(now) * 1_000_000n,
          endpoint: from === undefined ? peer.endpoint : endpointOf(from),
        }
      : {},
  )
}

/** Packets come and go: all that is seen of it is that peers have counted on. */
const traffic = fc.constantFrom(32n, 1_500n).map(bytes => ({ mirrors }: Agent) => {
  for (const mirror of Object.values(mirrors))
    readAgain(mirror, ({ rxBytes, txBytes }) => ({ rxBytes: rxBytes + bytes, txBytes: txBytes + bytes }))
})

/** The device says something else of its peers. */
function readAgain(mirror: DeviceMirror, news: (peer: PeerStatus, place: number) => Partial<PeerStatus>): void {
  const read = [...mirror.peers.values()].map((peer, place) =>
    peerStatus(peer.publicKey, { ...peer, ...news(peer, place) }),
  )
  const peers = new Map(read.map(peer => [peer.publicKey, peer]))
  mirror.noteStatus({ ...DEVICE, listenPort: CONFIG.listenPort, fwmark: 0, peers })
}

/** The agent of a node says hello. */
const hello = fc
  .record({
    index: fc.integer({ min: 2, max: 3 }),
    agrees: mostly(true, false),
    steers: fc.boolean(),
    parked: fc.boolean(),
    lane: fc.constantFrom<Lane>('main', 'spare'),
  })
  .map(({ index, agrees, steers, parked, lane }) => ({ hellos, now }: Agent) => {
    const accepts = agrees ? digestOf(publicKey(1), OWN_ADDRESSES) : undefined
    hellos[lane].set(name(index), { key: publicKey(index), at: now, knowsOurs: agrees, accepts, steers, parked })
  })

const pathMtus = mostly(ALL_WHOLE, new Map([[name(2), 1232]]), new Map([[name(2), 1280]]))

/** What may happen to an agent, each a function that does it. */
const change = fc.oneof(
  { weight: 3, arbitrary: written },
  { weight: 3, arbitrary: handshake },
  { weight: 2, arbitrary: traffic },
  { weight: 3, arbitrary: hello },
  { weight: 1, arbitrary: own },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 2, max: 3 }).map(
      index =>
        ({ cluster }: Agent) =>
          cluster.drop(name(index)),
    ),
  },
  {
    weight: 1,
    arbitrary: pathMtus.map(found => (agent: Agent) => {
      agent.fields = { ...agent.fields, pathMtus: found }
    }),
  },
  {
    weight: 1,
    arbitrary: fc.boolean().map(all => (agent: Agent) => {
      // Somebody else's doing.
      agent.steeredHosts = new Set(all ? [2, 3].map(other => hostCidr(endpointOf(other).address)) : [])
    }),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({
        enabled: mostly(true, false),
        mainChanges: mostly(false, true),
        routeSync: mostly(true, false),
        pinsEndpoints: fc.boolean(),
        pathMtus,
        config: mostly(CONFIG, ...CONFIGS),
      })
      .map(fields => (agent: Agent) => {
        agent.fields = fields
      }),
  },
  {
    weight: 2,
    arbitrary: fc
      .record({
        hosts: mostly(
          hostFacts('10.200.0.1'),
          ...[undefined, hostFacts('10.200.0.1', 2), hostFacts('10.200.0.1', 3), hostFacts('10.200.0.9')],
        ),
        config: mostly<FamilyView['config']>(CONFIGS[0], ...CONFIGS, CONFIG),
        pinsEndpoints: fc.boolean(),
      })
      .map(fields => (agent: Agent) => {
        agent.fields = fields
      }),
  },
)

const time = fc.constantFrom(10, 200_000).map(passed => (agent: Agent) => {
  agent.now += passed
})

const rounds = fc.array(fc.option(fc.oneof({ weight: 15, arbitrary: change }, { weight: 2, arbitrary: time })), {
  minLength: 30,
  maxLength: 40,
})

/** The time of a pass is that of its beginning. */
const pass = fc.record({ before: fc.option(time), meanwhile: fc.array(fc.option(change), { maxLength: 12 }) })

describe('what is remembered of the plans before', () => {
  test('changes nothing of a plan, nor of what it asks of the kernel, whatever happens', () => {
    fc.assert(
      fc.property(rounds, fc.constantFrom(1, 2, Number.POSITIVE_INFINITY), (rounds, most) => {
        const agent = new Agent(most)
        for (const happen of rounds) {
          happen?.(agent)
          agent.pass()
        }
      }),
      { numRuns: 120 },
    )
  })

  test('misses nothing that happens between two slices of a plan', () => {
    fc.assert(
      fc.property(fc.array(pass, { minLength: 10, maxLength: 20 }), passes => {
        const agent = new Agent(1)
        for (const { before, meanwhile } of passes) {
          before?.(agent)
          agent.interruptedPass(meanwhile)
          agent.pass()
        }
      }),
      { numRuns: 120 },
    )
  })
})

describe('when one node announces another key', () => {
  const agent = new Agent()
  for (const other of [2, 3])
    agent.cluster.put(nodeRecord(other, { announced: { 4: announcement(other, { hello: undefined }), 6: undefined } }))
  for (let round = 0; round < 3; round++) agent.pass()
  const before = planFamily(agent.states, agent.view(), agent.memory)
  const [peers, routes] = [new Map(mainPeers(before)), plannedRoutes(before)]
  agent.cluster.put(
    nodeRecord(3, {
      announced: {
        4: announcement(6, { hello: undefined, interfaceAddress: nthAddress(podCidr(3), 1) }),
        6: undefined,
      },
    }),
  )
  const after = planFamily(before.lanes, agent.view(), agent.memory)

  test('every other peer is the same object as before', () => {
    const [one, other] = [peers, mainPeers(after)].map(all => all.get(announcement(2).publicKey))
    expect(one).toBeDefined()
    expect(other).toBe(one)
  })

  test('every route is the same object as before', () => {
    const now = plannedRoutes(after)
    expect(now.length).toBeGreaterThan(0)
    expect(now.every((route, place) => route === routes[place])).toBe(true)
  })

  test('the peer of the new key is not among those that were there', () => {
    expect([...mainPeers(after).keys()]).not.toEqual([...peers.keys()])
  })
})

test('a peer that announces another key is looked at when the one in use is heard from elsewhere', () => {
  const agent = new Agent()
  const announce = (key: number) =>
    agent.cluster.put(nodeRecord(2, { announced: { 4: announcement(key, { hello: undefined }), 6: undefined } }))
  announce(2)
  for (let round = 0; round < 3; round++) agent.pass()
  announce(6)
  for (let round = 0; round < 3; round++) agent.pass()
  const [inUse] = agent.mirrors.main.peers.keys()
  shakeHands(agent.mirrors.main, agent.now, 8, 0)
  const plan = planFamily(agent.states, agent.view(), agent.memory)
  expect(inUse && mainPeers(plan).get(inUse)?.mayRoamTo).toContain(endpointOf(8).address)
})

test('a key that a plan begins a tunnel by is that of no node which copies it before the plan is made', () => {
  const agent = new Agent(1)
  const announce = (index: number, key: number) =>
    agent.cluster.put(nodeRecord(index, { announced: { 4: announcement(key), 6: undefined } }))
  agent.pass()
  announce(2, 2)
  const begins = () => agent.states.main.get(name(2))?.phase === 'accepting'
  let copied = false
  agent.interruptedPass(
    Array.from({ length: 20 }, () => () => {
      if (copied || !begins()) return
      announce(3, 2)
      copied = true
    }),
  )
  expect(copied).toBe(true)
  expect(agent.states.main.get(name(3))).toEqual({ phase: 'absent', reason: `it announces the key of ${name(2)}` })
})
