import { projectNode } from '#src/cluster/node-record.ts'
import { ownersOf } from '#src/mesh/cidr-owners.ts'
import type { CidrSource } from '#src/mesh/claims.ts'
import type { FamilyView } from '#src/mesh/family-view.ts'
import { type LaneStates, NO_STATES } from '#src/mesh/lanes.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import { hellosOf, planFamily } from '#src/mesh/plan.ts'
import { PlanMemory } from '#src/mesh/plan-memory.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { type Cidr, hostCidr, nthAddress } from '#wg/ip.ts'
import type { DesiredPeer } from '#wg/reconcile/desired.ts'
import { DeviceMirror } from '#wg/reconcile/device-mirror.ts'
import { diffPeers } from '#wg/reconcile/peers.ts'
import { mainPeers, peerStatus, publicKey, viewOf, withMain } from '../unit/mesh/records.ts'
import { largeNode, newKey } from './agent/node-object.ts'
import { percentile } from './distribution.ts'
import type { Profile } from './profile.ts'
import { type Row, type Table, told } from './table.ts'

/** The pure part of a pass: what it takes to plan the mesh after one node has changed. */
export async function planner({ sizes, plans, pods }: Profile): Promise<Table> {
  const rows: Row[] = []
  for (const nodes of sizes) rows.push(told(measure(nodes, 0, plans)))
  rows.push(told(measure(Math.min(...sizes.filter(size => size >= 1_000), Math.max(...sizes)), pods, plans)))
  return {
    name: 'planner',
    title: 'Planner',
    notes: [
      'All pairs encrypted; one node has announced another key. Milliseconds of one call: the plan, the comparison of peers with what the kernel holds, what is to be said to each peer, and (once, at the start of an agent) the book-keeping of the peers that were written.',
    ],
    rows,
  }
}

function measure(nodes: number, pods: number, plans: number): Row {
  const records = [...Array(nodes).keys()].map(index => recordOf(index))
  const source = workloads(records, pods)
  const first = planFamily(NO_STATES, viewWith(records, source))
  const { states, view } = encrypted(records, source, first.lanes.main)
  const [planned, compared, said]: [number[], number[], number[]] = [[], [], []]
  const memory = new PlanMemory()
  const settled = new WeakMap<DesiredPeer, PeerStatus>()
  for (let turn = 0; turn < plans; turn++) {
    const changed = new Map(view.nodes)
    const record = recordOf(1 + ((turn * 7) % (nodes - 1)), newKey())
    changed.set(record.name, record)
    const began = performance.now()
    const plan = planFamily(states, { ...view, nodes: changed }, memory)
    const done = performance.now()
    diffPeers(mainPeers(plan), view.lanes.main.kernel.peers, new Map(), settled)
    const told = performance.now()
    hellosOf(view, 'main', plan.lanes.main)
    planned.push(done - began)
    compared.push(told - done)
    said.push(performance.now() - told)
  }
  return {
    nodes,
    'pods of their own': pods,
    plans,
    'plan p50 ms': percentile(planned, 0.5),
    'plan p99 ms': percentile(planned, 0.99),
    'compare p50 ms': percentile(compared, 0.5),
    'hellos p50 ms': percentile(said, 0.5),
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

/** Pods with addresses of their own, as cloud networks have them, in place of the nodes' pod CIDRs. */
function workloads(records: readonly NodeRecord[], pods: number): CidrSource | undefined {
  if (pods === 0) return undefined
  const own = new Map<NodeName, Cidr[]>()
  for (let pod = 0; pod < pods; pod++) {
    const record = records[pod % records.length]
    const [cidr] = record?.podCidrs ?? []
    const address = cidr && nthAddress(cidr, 2 + Math.floor(pod / records.length))
    if (record && address) own.set(record.name, [...(own.get(record.name) ?? []), hostCidr(address)])
  }
  const owners = ownersOf(
    Array.from(own, ([node, cidrs]) => ({
      id: node,
      createdAt: 0,
      leaving: false,
      claims: cidrs.map(cidr => ({ cidr, node, exclusive: false })),
    })),
  )
  return {
    prefixes: ({ name }) => own.get(name) ?? [],
    owners: (_, family) => ({ owner: owners.owner(family), refused: owners.refused(family) }),
  }
}

function viewWith(records: readonly NodeRecord[], source: CidrSource | undefined): FamilyView {
  const [own] = records
  return viewOf(records, { ...(own && { self: own.name }), ...(source && { cidrSource: source }) })
}

/** Every pair as it is when it has long been encrypted, with what the plan wants in the kernel. */
function encrypted(
  records: readonly NodeRecord[],
  source: CidrSource | undefined,
  accepting: PeerStates,
): { states: LaneStates; view: FamilyView } {
  const main = new Map<NodeName, PeerState>()
  for (const [name, state] of accepting)
    if (state.phase === 'accepting') {
      const { since, key, candidate, helloAddress, reason } = state
      main.set(name, { phase: 'encrypting', since, key, candidate, helloAddress, reason })
    }
  const view = viewWith(records, source)
  const states = { main, spare: NO_STATES.spare }
  const plan = planFamily(states, view)
  const { desired } = plan
  const peers = new Map(
    [...mainPeers(plan)].map(([key, { allowedIps, endpoint }]) => [
      key,
      peerStatus(key, { allowedIps, endpoint, latestHandshake: 1n }),
    ]),
  )
  const steered = new Set(desired.routes.filter(({ type }) => type === 'unicast').map(({ destination }) => destination))
  return { states, view: withMain(view, { kernel: { up: true, peers, steered } }) }
}
