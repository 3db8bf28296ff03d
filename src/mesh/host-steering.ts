import { type Cidr, hostCidr } from '#wg/ip.ts'
import type { FamilyView } from './family-view.ts'
import { type LaneStates, laneOf } from './lanes.ts'
import { LANES, type NodeRecord } from './node-record.ts'
import { nodeAddresses } from './record-facts.ts'

/**
 * Whether what this host sends to another node's own addresses goes by the tunnel. It does when both nodes say that they
 * do so, pods are steered already, and the other one has said inside the tunnel that it steers to us: it accepts and
 * answers that way. What has begun goes on until the other one says otherwise, or its tunnel is silent; where the guard
 * enforces, until its node takes part no more.
 */
export function steersToHost(view: FamilyView, states: LaneStates, node: NodeRecord): boolean {
  const lane = laneOf(states, node.name)
  if (!view.hosts || lane === undefined || node.announced[view.family]?.encryptsHosts !== true) return false
  const state = states[lane].get(node.name)
  if (state === undefined || state.phase === 'absent') return false
  const begun = LANES.some(each => isSteered(view, node, view.lanes[each].kernel.steeredHosts))
  if (begun && view.pinsEndpoints) return true
  if (view.hosts.mute.has(state.key)) return false
  const hello = view.lanes[lane].hellos.get(node.name)
  return hello?.key === state.key ? hello.steers : begun
}

const isSteered = (view: FamilyView, node: NodeRecord, steered: ReadonlySet<Cidr> | undefined): boolean =>
  nodeAddresses(node, view.family).some(address => steered?.has(hostCidr(address)))
