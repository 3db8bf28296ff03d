import type { PublicKey } from '#keys/public-key.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { CidrOwners } from '#src/mesh/cidr-owners.ts'
import type { CidrSource } from '#src/mesh/claims.ts'
import type { FamilyView } from '#src/mesh/family-view.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import { type LaneStates, NO_STATES } from '#src/mesh/lanes.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import { planFamily } from '#src/mesh/plan.ts'
import { PlanMemory } from '#src/mesh/plan-memory.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { type Cidr, type Family, hostCidr, nthAddress } from '#wg/ip.ts'
import { DeviceMirror } from '#wg/reconcile/device-mirror.ts'
import { PeerDifferences } from '#wg/reconcile/peers.ts'
import { atOnce } from '#wg/slices.ts'
import { Table } from '#wg/table.ts'
import { mainPeers, peerStatus, plannedRoutes, publicKey, viewOf, withMain } from '../unit/mesh/records.ts'
import { largeNode, newKey } from './agent/node-object.ts'
import { percentile } from './distribution.ts'
import type { Profile } from './profile.ts'
import { type Table as Results, type Row, told } from './table.ts'

/** The pure part of a pass: what it takes to plan the mesh after one node has changed. */
export async function planner({ sizes, plans, pods }: Profile): Promise<Results> {
  const rows: Row[] = []
  for (const nodes of sizes) rows.push(told(measure(nodes, 0, plans)))
  rows.push(told(measure(Math.min(...sizes.filter(size => size >= 1_000), Math.max(...sizes)), pods, plans)))
  return {
    name: 'planner',
    title: 'Planner',
    notes: [
      'All pairs encrypted; one node has announced another key. Milliseconds of one call: the plan, the comparison of peers with what the kernel holds, and (once, at the start of an agent) the book-keeping of the peers that were written.',
    ],
    rows,
  }
}

function measure(nodes: number, pods: number, plans: number): Row {
  const records = [...Array(nodes).keys()].map(index => recordOf(index))
  const cluster = new Cluster(records, pods)
  const { states, view } = encrypted(cluster, planFamily(NO_STATES, cluster.view).lanes.main)
  const [planned, compared]: [number[], number[]] = [[], []]
  const memory = new PlanMemory()
  const differences = new PeerDifferences()
  let lanes = states
  const look = () => {
    const began = performance.now()
    const plan = planFamily(lanes, view, memory)
    const done = performance.now()
    atOnce(differences.find(mainPeers(plan), view.lanes.main.kernel.peers, new Map()))
    lanes = plan.lanes
    return { plan: done - began, compare: performance.now() - done }
  }
  const first = look()
  for (let turn = 0; turn < plans; turn++) {
    cluster.put(recordOf(1 + ((turn * 7) % (nodes - 1)), newKey()))
    const { plan, compare } = look()
    planned.push(plan)
    compared.push(compare)
  }
  return {
    nodes,
    'pods of their own': pods,
    plans,
    'first plan ms': first.plan,
    'plan p50 ms': percentile(planned, 0.5),
    'plan p99 ms': percentile(planned, 0.99),
    'compare p50 ms': percentile(compared, 0.5),
    'note all peers ms': noteAll(view),
  }
}

/** What an agent's own copy of the kernel takes to note all that a first pass has written. */
function noteAll({ lanes }: FamilyView): number {
  const mirror = new DeviceMirror('wireguard.cali')
  const began = performance.now()
  for (const { publicKey, allowedIps } of lanes.main.kernel.peers.values())
    mirror.notePeer({ kind: 'set', publicKey, addAllowedIps: [...allowedIps] })
  return performance.now() - began
}

function recordOf(index: number, key?: string): NodeRecord {
  const record = projectNode(largeNode(index, index === 0 ? publicKey(1) : key))
  const announced = record?.announced[4]
  if (!record || !announced) throw new Error(`the node of number ${index} is none`)
  // As a Podveil node, which speaks hello.
  return { ...record, announced: { 4: { ...announced, port: 51_820, hello: 1 }, 6: undefined } }
}

/** The tables of an agent: Nodes, and owners of prefixes that are kept up. */
class Cluster implements CidrSource {
  readonly nodes = new Table<NodeName, NodeRecord>()
  readonly #owners = new CidrOwners()
  /** Pods with addresses of their own, as cloud networks have them, in place of the nodes' pod CIDRs. */
  readonly #pods = new Map<NodeName, Cidr[]>()

  constructor(records: readonly NodeRecord[], pods: number) {
    for (let pod = 0; pod < pods; pod++) {
      const record = records[pod % records.length]
      const [cidr] = record?.podCidrs ?? []
      const address = cidr && nthAddress(cidr, 2 + Math.floor(pod / records.length))
      if (!record || !address) continue
      const own = this.#pods.get(record.name) ?? []
      this.#pods.set(record.name, own)
      own.push(hostCidr(address))
    }
    for (const record of records) {
      const claims = this.prefixes(record).map(cidr => ({ cidr, node: record.name, exclusive: pods === 0 }))
      this.#owners.put({ id: record.name, createdAt: 0, leaving: false, claims })
      this.put(record)
    }
  }

  put(record: NodeRecord): void {
    this.nodes.set(record.name, record)
  }

  prefixes({ name, podCidrs }: NodeRecord): readonly Cidr[] {
    return this.#pods.get(name) ?? podCidrs
  }

  owners(_: Iterable<NodeRecord>, family: Family) {
    return { owner: this.#owners.owner(family), refused: this.#owners.refused(family) }
  }

  get view(): FamilyView {
    const [self] = this.nodes.keys()
    const { lanes, ...view } = viewOf([], { nodes: this.nodes, cidrSource: this, ...(self && { self }) })
    const heard = new Table<NodeName, HeardHello>()
    const none = new Table<PublicKey, PeerStatus>()
    const kernel = { up: false, peers: none, steered: new Set<Cidr>() }
    return {
      ...view,
      lanes: { main: { ...lanes.main, hellos: heard }, spare: { ...lanes.spare, kernel, hellos: heard } },
    }
  }
}

/** Every pair as it is when it has long been encrypted, with what the plan wants in the kernel. */
function encrypted(cluster: Cluster, accepting: PeerStates): { states: LaneStates; view: FamilyView } {
  const main = new Map<NodeName, PeerState>()
  for (const [name, state] of accepting)
    if (state.phase === 'accepting') {
      const { since, key, candidate, helloAddress, reason } = state
      main.set(name, { phase: 'encrypting', since, key, candidate, helloAddress, reason })
    }
  const { view } = cluster
  const states = { main, spare: NO_STATES.spare }
  const plan = planFamily(states, view)
  const peers = new Table<PublicKey, PeerStatus>()
  for (const [key, { allowedIps, endpoint }] of mainPeers(plan))
    peers.set(key, peerStatus(key, { allowedIps, endpoint, latestHandshake: 1n }))
  const steered = new Set(
    plannedRoutes(plan)
      .filter(({ type }) => type === 'unicast')
      .map(({ destination }) => destination),
  )
  return { states, view: withMain(view, { kernel: { up: true, peers, steered } }) }
}
