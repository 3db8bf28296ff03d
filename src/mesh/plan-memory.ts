import type { PublicKey } from '#keys/public-key.ts'
import type { Cidr } from '#wg/ip.ts'
import type { DesiredPeer, DesiredRoute } from '#wg/reconcile/desired.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import type { CidrClaims, KeyClaims } from './claims.ts'
import type { Lane, NodeName, NodeRecord } from './node-record.ts'
import type { PeerState, PeerStates } from './peer-machine.ts'

/** A desired peer with all that it was made of. */
export interface PlannedPeer {
  readonly inputs: readonly unknown[]
  readonly peer: DesiredPeer
}

/**
 * What was planned last in one family, so that what follows from the same inputs is the same object again and nobody looks
 * at it twice. It decides nothing: with an empty memory the plan says the same.
 */
export class PlanMemory {
  cidrs: CidrClaims | undefined
  readonly peers: Readonly<Record<Lane, WeakMap<PeerState, PlannedPeer>>> = {
    main: new WeakMap(),
    spare: new WeakMap(),
  }
  /** By the pair's state on the main device: facts under which neither state changes, whatever the time. */
  readonly steps = new WeakMap<PeerState, readonly unknown[]>()
  readonly records = sameItems<NodeRecord>()
  readonly ownKeys = sameItems<PublicKey>()
  readonly hosts = sameItems<NodeName>()
  readonly keys = lastOf<KeyClaims>()
  readonly incumbents = lastOf<ReadonlyMap<PublicKey, NodeName>>()
  readonly pairs = lastOf<PeerStates>()
  readonly routes = lastOf<readonly DesiredRoute[]>()
  readonly #routes = sameItems<DesiredRoute>()
  #routeAt = new Map<number, Map<Cidr, DesiredRoute>>()

  /** The same routes as objects that are known, where they are. */
  share(routes: Iterable<DesiredRoute>): readonly DesiredRoute[] {
    const at = new Map<number, Map<Cidr, DesiredRoute>>()
    const shared: DesiredRoute[] = []
    for (const route of routes) {
      const known = this.#routeAt.get(route.table)?.get(route.destination)
      const kept = known && sameRoute(known, route) ? known : route
      shared.push(kept)
      const ofTable = at.get(route.table) ?? new Map<Cidr, DesiredRoute>()
      at.set(route.table, ofTable.set(route.destination, kept))
    }
    this.#routeAt = at
    return this.#routes(shared)
  }
}

/** The states before, where every one of them is what it was. */
export function sameStates(before: PeerStates, after: PeerStates): PeerStates {
  if (before.size !== after.size) return after
  for (const [name, state] of after) if (before.get(name) !== state) return after
  return before
}

function sameRoute(a: DesiredRoute, b: DesiredRoute): boolean {
  if (a.type === 'throw' || b.type === 'throw') return a.type === b.type
  return a.device === b.device && a.mtu === b.mtu && a.source === b.source
}

/** Gives the result again that was made last, while all inputs are the same. */
function lastOf<Result>(): (inputs: readonly unknown[], make: () => Result) => Result {
  let last: { readonly inputs: readonly unknown[]; readonly result: Result } | undefined
  return (inputs, make) => {
    if (!last || !sameInputs(last.inputs, inputs)) last = { inputs, result: make() }
    return last.result
  }
}

/** Gives the list again that was given last, while all that is in it is the same. */
function sameItems<Item>(): (items: Iterable<Item>) => readonly Item[] {
  let last: readonly Item[] = []
  return items => {
    const now = [...items]
    if (!sameInputs(last, now)) last = now
    return last
  }
}
