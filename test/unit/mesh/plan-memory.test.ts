import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CidrOwners } from '#src/mesh/cidr-owners.ts'
import { type CidrSource, podCidrClaimant } from '#src/mesh/claims.ts'
import type { FamilyView } from '#src/mesh/family-view.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import { type LaneStates, NO_STATES } from '#src/mesh/lanes.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { planFamily } from '#src/mesh/plan.ts'
import { PlanMemory } from '#src/mesh/plan-memory.ts'
import { type Cidr, nthAddress } from '#wg/ip.ts'
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

const NO_GATEWAYS: readonly Cidr[] = []

/** A node's agent without the world around it: what it plans goes into its kernel. */
class Agent {
  readonly cluster = new Cluster()
  readonly memory = new PlanMemory()
  readonly mirror = new DeviceMirror(CONFIG.interfaceName)
  readonly hellos = new Map<NodeName, HeardHello>()
  states: LaneStates = NO_STATES
  steered: ReadonlySet<Cidr> = new Set()
  fields: Partial<FamilyView> = {}
  now = 1_000

  constructor() {
    this.cluster.put(nodeRecord(1))
  }

  view(): FamilyView {
    const { cluster, mirror, hellos, steered, now } = this
    const identity = { name: CONFIG.interfaceName, listenPort: CONFIG.listenPort, privateKey: privateKey(1) }
    const main = { identity, kernel: { up: true, peers: mirror.peers, steered }, hellos }
    const wallTime = now
    const known = { nodes: cluster.nodes, cidrSource: cluster, natExceptions: NO_GATEWAYS, now, wallTime }
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
    this.steered = new Set(plan.desired.routes.filter(({ type }) => type === 'unicast').map(route => route.destination))
    for (const change of [...operations.additions, ...operations.removals]) this.mirror.notePeer(change)
  }
}

const DEVICE = { name: CONFIG.interfaceName, publicKey: undefined, privateKey: undefined }

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
      hello: mostly(undefined, 1),
      silent: mostly(false, true),
    })
    .map(({ cidrs, key, address, port, hello, silent }) => ({ cluster }: Agent) => {
      const said = announcement(key, { interfaceAddress: nthAddress(podCidr(address), 1), port, hello })
      cluster.put(
        nodeRecord(index, {
          podCidrs: cidrs.map(podCidr),
          addresses: [endpointOf(address).address],
          announced: { 4: silent ? undefined : said, 6: undefined },
        }),
      )
    }),
)

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

/** What may happen to an agent, each a function that does it. */
const happening = fc.oneof(
  { weight: 4, arbitrary: written },
  { weight: 4, arbitrary: handshake },
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
        routeSync: mostly(true, false),
        pinsEndpoints: fc.boolean(),
        config: mostly(CONFIG, { ...CONFIG, persistentKeepalive: 30 }),
      })
      .map(fields => (agent: Agent) => {
        agent.fields = fields
      }),
  },
)

describe('what is remembered of the plans before', () => {
  test('changes nothing of a plan, nor of what it asks of the kernel, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(fc.array(happening, { maxLength: 2 }), { maxLength: 20, size: 'max' }), rounds => {
        const agent = new Agent()
        for (const happenings of rounds) {
          for (const happen of happenings) happen(agent)
          agent.pass()
        }
      }),
      { numRuns: 150 },
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
