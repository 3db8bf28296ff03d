import type { Family } from '#wg/ip.ts'
import type { FamilyView } from './family-view.ts'
import { type LaneStates, laneOf } from './lanes.ts'
import type { Move, NodeName, NodeRecord } from './node-record.ts'
import type { PeerState, PeerStates } from './peer-machine.ts'

/** Where this node wants its traffic while its main device gets another key, port or name, and who is not there yet. */
export interface MovePlan {
  readonly move: Move | undefined
  readonly waitsFor: readonly NodeName[]
}

/**
 * What a change of the main device asks for next. Level-triggered: an agent that is restarted in the midst of it sees in its
 * own Node that traffic is away, and goes on from there.
 */
export function planMove(view: FamilyView, states: LaneStates): MovePlan {
  if (view.mainChanges) return { move: 'away', waitsFor: [...onMain(view, states)] }
  const waitsFor = [...onSpare(view, states)]
  const isAway = view.nodes.get(view.self)?.spare[view.family]?.move !== undefined
  return { move: isAway && waitsFor.length > 0 ? 'back' : undefined, waitsFor }
}

/**
 * Whether another node is moving its traffic to the spare devices, as far as this one has seen: it may begin to send by ours at
 * any time, to the key that it knows to accept.
 */
export const othersMove = (nodes: ReadonlyMap<NodeName, NodeRecord>, self: NodeName, family: Family): boolean =>
  nodes.values().some(({ name, spare }) => name !== self && spare[family]?.move === 'away')

/**
 * Whether a peer has said, by these devices, that it accepts from us: it said so of the key that ours has now, and traffic may
 * go there as soon as anybody moves.
 */
export const isProven = (states: PeerStates): boolean => states.values().some(({ phase }) => phase === 'encrypting')

/** Those that the main device must not change for yet: we send by it, or they do, or might begin to. */
function* onMain(view: FamilyView, states: LaneStates): Generator<NodeName> {
  const { kernel, hellos } = view.lanes.main
  for (const [name, state] of states.main) {
    if (state.phase === 'absent') continue
    // A Felix node cannot be told: it loses packets until it has seen the new key.
    if (state.helloAddress === undefined && state.phase !== 'lingering') continue
    const hello = hellos.get(name)
    const parked = hello?.parked === true && !hello.steers
    if (laneOf(states, name) === 'main' || sends(state, kernel) || !parked) yield name
  }
}

/** Those that the spare device is still there for. */
function* onSpare(view: FamilyView, states: LaneStates): Generator<NodeName> {
  const { kernel, hellos } = view.lanes.spare
  for (const [name, state] of states.spare) {
    if (state.phase === 'absent' || state.phase === 'lingering') continue
    const returned = laneOf(states, name) === 'main' && !sends(state, kernel) && hellos.get(name)?.steers !== true
    if (!returned) yield name
  }
}

const sends = (state: PeerState, kernel: FamilyView['lanes']['main']['kernel']): boolean =>
  state.phase !== 'absent' &&
  [...(kernel.peers.get(state.key)?.allowedIps ?? [])].some(cidr => kernel.steered.has(cidr))
