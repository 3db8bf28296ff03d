import type { PublicKey } from '#keys/public-key.ts'
import type { IpAddress } from '#wg/ip.ts'
import type { DesiredRoute } from '#wg/reconcile/desired.ts'
import { desiredSlot } from '#wg/reconcile/routes.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import { Follower, Table } from '#wg/table.ts'
import { CidrClaims } from './claims.ts'
import type { FamilyView } from './family-view.ts'
import { KeyOwners } from './key-owners.ts'
import { heldKeys, type LaneStates, type PairOfStates } from './lanes.ts'
import { LANES, type Lane, type NodeName } from './node-record.ts'
import { ABSENT, type PeerState } from './peer-machine.ts'
import { PeerTable } from './peer-table.ts'
import type { Slice } from './slice.ts'

/**
 * What was planned last in one family, and what has changed since. It decides nothing: with an empty memory every pair is
 * looked at, and the plan says the same.
 */
export class PlanMemory {
  #tables: PlanTables | undefined

  /** The tables that go on from these states. */
  resume(previous: LaneStates, view: FamilyView): PlanTables {
    if (!this.#tables?.goesOnFrom(previous, view)) this.#tables = new PlanTables(previous, view)
    return this.#tables
  }

  /** Nodes whose tunnels go by one of these keys, or that announce it. */
  concerned(keys: Iterable<PublicKey>): Iterable<NodeName> {
    return this.#tables?.concerned(keys) ?? []
  }

  /** Nothing of it is known to be right. */
  forget(): void {
    this.#tables = undefined
  }
}

/**
 * Everything that a plan says of each node, in tables that are changed in place: a plan looks only at the nodes that
 * something has changed for.
 */
export class PlanTables {
  readonly states: Readonly<Record<Lane, Table<NodeName, PeerState>>>
  /** The state of each pair on the device that its traffic is on. */
  readonly pairs = new Table<NodeName, PeerState>()
  readonly keys: KeyOwners
  readonly cidrs: CidrClaims
  readonly peers: Readonly<Record<Lane, PeerTable>> = { main: new PeerTable(), spare: new PeerTable() }
  /** Nodes whose main device is changing. */
  readonly movers = new Set<NodeName>()
  /** To be looked at in each plan: time alone changes something. */
  readonly restless = new Set<NodeName>()
  /** By routeSlot(). */
  readonly routes = new Table<string, DesiredRoute>()
  /** Whom the plan under way has yet to look at: their states, then their peers, then the routes to them. */
  readonly due = { states: new Set<NodeName>(), peers: new Set<NodeName>(), routes: new Set<NodeName>() }
  readonly #scope: readonly unknown[]
  readonly #routesOf = new Map<NodeName | undefined, readonly DesiredRoute[]>()
  /** Nodes whose record, and whose states, have yet to be taken in; keys of which the kernel has something else to say. */
  readonly #untaken = { nodes: new Set<NodeName>(), states: new Set<NodeName>(), keys: new Set<PublicKey>() }
  /** Pairs that are other than they were when the last plan began. */
  readonly #stepped = new Set<NodeName>()
  readonly #nodes = new Follower<NodeName>()
  readonly #states = { main: new Follower<NodeName>(), spare: new Follower<NodeName>() }
  readonly #hellos = { main: new Follower<NodeName>(), spare: new Follower<NodeName>() }
  readonly #kernel = { main: new Follower<PublicKey>(), spare: new Follower<PublicKey>() }
  #mute: ReadonlySet<PublicKey> = new Set()
  #pathMtus: FamilyView['pathMtus'] = new Map()
  #common: readonly unknown[] = []
  #commonOfRoutes: readonly unknown[] = []

  constructor(previous: LaneStates, view: FamilyView) {
    const { family, self, cidrSource } = view
    this.#scope = [family, self, cidrSource]
    this.states = { main: Table.from(previous.main), spare: Table.from(previous.spare) }
    this.keys = new KeyOwners(family)
    this.cidrs = new CidrClaims(family, cidrSource)
  }

  goesOnFrom({ main, spare }: LaneStates, { family, self, cidrSource }: FamilyView): boolean {
    const { states } = this
    return main === states.main && spare === states.spare && sameInputs(this.#scope, [family, self, cidrSource])
  }

  /** Goes on from states that nothing was planned from. */
  adopt(states: LaneStates): void {
    for (const lane of LANES) for (const [name, state] of states[lane]) this.states[lane].set(name, state)
  }

  /** Whom a plan looks at whatever has changed. */
  begin(): void {
    this.#noteSteps()
    for (const name of this.#stepped.union(this.restless)) this.due.states.add(name)
    this.#stepped.clear()
  }

  /**
   * Takes in Nodes as they are now, and settles who owns which prefix.
   * @returns whether all of them have been
   */
  takeNodes(view: FamilyView, slice: Slice): boolean {
    const taken = this.#takeRecords(view, slice)
    for (const name of this.cidrs.refresh(view.nodes, taken)) this.due.states.add(name)
    return this.#untaken.nodes.size === 0
  }

  /**
   * Takes in all else that is to be seen, and settles who owns which key. Whom it may make a difference to is due.
   * @returns whether everything has been
   */
  takeIn(view: FamilyView, slice: Slice): boolean {
    const { keys, due } = this
    const nodesAreTaken = this.takeNodes(view, slice)
    for (const name of slice.take(this.#untaken.states)) keys.hold(name, heldKeys(this.statesOf(name)))
    keys.own(ownKeys(view))
    keys.hear(key => callerAddress(view, key))
    const followed = LANES.flatMap(lane => {
      const { hellos, kernel } = view.lanes[lane]
      const seen = this.#kernel[lane].take(kernel.peers)
      for (const key of seen ?? []) this.#untaken.keys.add(key)
      return [this.#hellos[lane].take(hellos), seen && []]
    })
    if (followed.some(names => names === undefined)) this.expectEverybody(view)
    for (const key of this.#takeMute(view)) this.#untaken.keys.add(key)
    const concerned = this.concerned(slice.take(this.#untaken.keys))
    for (const names of [keys.takeChanged(), this.#takePathMtus(view), concerned, ...followed])
      for (const name of names ?? []) due.states.add(name)
    const { states, keys: left } = this.#untaken
    return nodesAreTaken && states.size + left.size === 0
  }

  /** Everybody is to be looked at. */
  expectEverybody(view: FamilyView): void {
    for (const name of this.#everybody(view)) this.due.states.add(name)
  }

  expectAllRoutes(view: FamilyView): void {
    for (const name of this.#everybody(view)) this.due.routes.add(name)
  }

  /** @param common what every pair looks at @returns whether any of it is other than before */
  takeCommon(common: readonly unknown[]): boolean {
    const same = sameInputs(this.#common, common)
    this.#common = common
    return !same
  }

  /** The same of what every node's routes follow from. */
  takeCommonOfRoutes(common: readonly unknown[]): boolean {
    const same = sameInputs(this.#commonOfRoutes, common)
    this.#commonOfRoutes = common
    return !same
  }

  /** All nodes that there is, or was, anything to say of. */
  *#everybody(view: FamilyView): Generator<NodeName> {
    const { states, cidrs, pairs } = this
    const known = [view.nodes.keys(), states.main.keys(), states.spare.keys(), cidrs.owner.table.values()]
    const planned = [pairs.keys(), ...LANES.map(lane => this.peers[lane].nodes()), this.#routesOf.keys()]
    for (const names of [...known, ...planned]) for (const name of names) if (name !== undefined) yield name
  }

  statesOf(name: NodeName): PairOfStates {
    const { main, spare } = this.states
    return { main: main.get(name) ?? ABSENT, spare: spare.get(name) ?? ABSENT }
  }

  /** @param isNode there is such a Node: why it is absent is kept */
  putStates(name: NodeName, { main, spare }: PairOfStates, isNode: boolean): void {
    const { states } = this
    if (main.phase !== 'absent' || isNode) states.main.set(name, main)
    else states.main.delete(name)
    // Why it is absent there nobody keeps.
    if (spare.phase !== 'absent' || spare.contested) states.spare.set(name, spare)
    else states.spare.delete(name)
  }

  /** Takes in the routes to one node in place of what led there before; those that lead to none are of `undefined`. */
  putRoutes(name: NodeName | undefined, planned: Iterable<DesiredRoute>): void {
    const { routes } = this
    const left = new Map((this.#routesOf.get(name) ?? []).map(route => [desiredSlot(route), route]))
    const all: DesiredRoute[] = []
    for (const route of planned) {
      const slot = desiredSlot(route)
      const before = left.get(slot)
      left.delete(slot)
      const same = before && routes.get(slot) === before && sameRoute(before, route) ? before : route
      routes.set(slot, same)
      all.push(same)
    }
    // What has come to lead to another node since is that one's.
    for (const [slot, route] of left) if (routes.get(slot) === route) routes.delete(slot)
    // As long as it is: what was pushed to keeps room for 17.
    if (all.length > 0) this.#routesOf.set(name, [...all])
    else this.#routesOf.delete(name)
  }

  #noteSteps(): void {
    for (const lane of LANES) {
      const states = this.states[lane]
      for (const name of this.#states[lane].take(states) ?? states.keys()) {
        this.#untaken.states.add(name)
        this.#stepped.add(name)
      }
    }
  }

  #takeRecords({ nodes, self, family }: FamilyView, slice: Slice): readonly NodeName[] {
    const { cidrs } = this
    const untaken = this.#untaken.nodes
    for (const name of this.#nodes.take(nodes) ?? new Set([...cidrs.nodes.keys(), ...nodes.keys()]))
      if (cidrs.nodes.get(name) !== nodes.get(name)) untaken.add(name)
    // What this plan has decided so far holds against what comes later.
    if (untaken.size > 0) this.#noteSteps()
    const taken = slice.take(untaken)
    for (const name of taken) {
      const node = nodes.get(name)
      if (name !== self) this.keys.put(name, cidrs.nodes.get(name), node)
      if (node?.spare[family]?.move === undefined) this.movers.delete(name)
      else this.movers.add(name)
    }
    return taken
  }

  #takePathMtus({ pathMtus }: FamilyView): readonly NodeName[] {
    const before = this.#pathMtus
    this.#pathMtus = pathMtus
    if (before === pathMtus) return []
    return [...before.keys(), ...pathMtus.keys()].filter(name => before.get(name) !== pathMtus.get(name))
  }

  #takeMute({ hosts }: FamilyView): ReadonlySet<PublicKey> {
    const before = this.#mute
    this.#mute = hosts?.mute ?? new Set()
    return before.symmetricDifference(this.#mute)
  }

  *concerned(keys: Iterable<PublicKey>): Generator<NodeName> {
    for (const key of keys) yield* this.keys.concerned(key)
  }
}

const ownKeys = (view: FamilyView): Set<PublicKey> =>
  new Set(LANES.map(lane => view.lanes[lane].identity?.privateKey.publicKey()).filter(key => key !== undefined))

/** Where the last handshake under a key came from, on either device. */
function callerAddress(view: FamilyView, key: PublicKey): IpAddress | undefined {
  const onEach = LANES.map(lane => view.lanes[lane].kernel.peers.get(key))
  return onEach.find(peer => peer && peer.latestHandshake > 0n)?.endpoint?.address
}

function sameRoute(a: DesiredRoute, b: DesiredRoute): boolean {
  if (a.type === 'throw' || b.type === 'throw') return a.type === b.type
  return a.device === b.device && a.mtu === b.mtu && a.source === b.source
}
