import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CidrOwners } from '#src/mesh/cidr-owners.ts'
import { type CidrSource, podCidrClaimant } from '#src/mesh/claims.ts'
import { digestOf } from '#src/mesh/digest.ts'
import type { FamilyView, HostFacts } from '#src/mesh/family-view.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import { type LaneStates, NO_STATES } from '#src/mesh/lanes.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { planFamily } from '#src/mesh/plan.ts'
import { PlanMemory } from '#src/mesh/plan-memory.ts'
import { type Cidr, nthAddress, parseAddress, parseCidr } from '#wg/ip.ts'
import type { DesiredRoute } from '#wg/reconcile/desired.ts'
import { DeviceMirror } from '#wg/reconcile/device-mirror.ts'
import { diffPeers } from '#wg/reconcile/peers.ts'
import {
  announcement,
  endpointOf,
  mainPeers,
  name,
  nodeRecord,
  peerStatus,
  podCidr,
  privateKey,
  publicKey,
  viewOf,
} from './records.ts'
import { CONFIG } from './world.ts'

/** Nodes as the agent has them: owners that are kept up, in a map that changes in place. */
class Cluster implements CidrSource {
  readonly nodes = new Map<NodeName, NodeRecord>()
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

const NO_GATEWAYS: readonly Cidr[] = []

/** A node's agent without the world around it: what it plans goes into its kernel. */
class Agent {
  readonly cluster = new Cluster()
  readonly memory = new PlanMemory()
  readonly mirror = new DeviceMirror(CONFIG.interfaceName)
  readonly hellos = new Map<NodeName, HeardHello>()
  states: LaneStates = NO_STATES
  steered: ReadonlySet<Cidr> = new Set()
  steeredHosts: ReadonlySet<Cidr> = new Set()
  fields: Partial<FamilyView> = {}
  now = 1_000

  constructor() {
    this.cluster.put(nodeRecord(1))
  }

  view(): FamilyView {
    const { cluster, mirror, hellos, steered, steeredHosts, now } = this
    const identity = { name: CONFIG.interfaceName, listenPort: CONFIG.listenPort, privateKey: privateKey(1) }
    const main = { identity, kernel: { up: true, peers: mirror.peers, steered, steeredHosts }, hellos }
    const wallTime = now
    // What an agent gives anew for each plan is remembered by nobody.
    const known = {
      nodes: cluster.nodes,
      cidrSource: cluster,
      natExceptions: NO_GATEWAYS,
      pathMtus: ALL_WHOLE,
      now,
      wallTime,
    }
    return { ...viewOf([], { main }), ...known, ...this.fields }
  }

  pass(): void {
    const view = this.view()
    const plan = planFamily(this.states, view, this.memory)
    expect(plan).toEqual(planFamily(this.states, view))
    const { peers, writtenEndpoints, settled } = this.mirror
    const operations = diffPeers(mainPeers(plan), peers, writtenEndpoints, settled)
    expect(operations).toEqual(diffPeers(mainPeers(plan), peers, writtenEndpoints))
    this.states = plan.lanes
    const inHostTable = (route: DesiredRoute) => route.table === HOST_TABLE || route.table === OTHER_HOST_TABLE
    const unicast = plan.desired.routes.filter(({ type }) => type === 'unicast')
    this.steered = destinations(unicast.filter(route => !inHostTable(route)))
    this.steeredHosts = destinations(unicast.filter(inHostTable))
    for (const change of [...operations.additions, ...operations.removals]) this.mirror.notePeer(change)
  }
}

const destinations = (routes: readonly DesiredRoute[]): Set<Cidr> => new Set(routes.map(route => route.destination))

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

/** All peers shake hands, from where they are dialled or from elsewhere. */
const handshake = fc.constantFrom(undefined, undefined, 2, 3, 8).map(from => ({ mirror, now }: Agent) => {
  const heard = [...mirror.peers.values()].map(({ endpoint, ...peer }) =>
    peerStatus(peer.publicKey, {
      ...peer,
      latestHandshake: BigInt(now) * 1_000_000n,
      endpoint: from === undefined ? endpoint : endpointOf(from),
    }),
  )
  const peers = new Map(heard.map(peer => [peer.publicKey, peer]))
  mirror.noteStatus({ ...DEVICE, listenPort: CONFIG.listenPort, fwmark: 0, peers })
})

/** The agent of a node says hello. */
const hello = fc
  .record({
    index: fc.integer({ min: 2, max: 3 }),
    agrees: mostly(true, false),
    steers: fc.boolean(),
    parked: fc.boolean(),
  })
  .map(({ index, agrees, steers, parked }) => ({ hellos, now }: Agent) => {
    const accepts = agrees ? digestOf(publicKey(1), OWN_ADDRESSES) : undefined
    hellos.set(name(index), { key: publicKey(index), at: now, knowsOurs: agrees, accepts, steers, parked })
  })

/** What may happen to an agent, each a function that does it. */
const happening = fc.oneof(
  { weight: 3, arbitrary: written },
  { weight: 3, arbitrary: handshake },
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
    weight: 2,
    arbitrary: fc.constantFrom(10, 200_000).map(passed => (agent: Agent) => {
      agent.now += passed
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
        pathMtus: mostly(ALL_WHOLE, new Map([[name(2), 1232]]), new Map([[name(2), 1280]])),
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

describe('what is remembered of the plans before', () => {
  test('changes nothing of a plan, nor of what it asks of the kernel, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(fc.option(happening), { minLength: 30, maxLength: 40 }), rounds => {
        const agent = new Agent()
        for (const happen of rounds) {
          happen?.(agent)
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
    const [one, other] = [before, after].map(plan => mainPeers(plan).get(announcement(2).publicKey))
    expect(one).toBeDefined()
    expect(other).toBe(one)
  })

  test('the routes are the same list as before', () => {
    expect(after.desired.routes.length).toBeGreaterThan(0)
    expect(after.desired.routes).toBe(before.desired.routes)
  })

  test('the peer of the new key is not among those that were there', () => {
    expect([...mainPeers(after).keys()]).not.toEqual([...mainPeers(before).keys()])
  })
})
