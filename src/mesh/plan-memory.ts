import type { PublicKey } from '#keys/public-key.ts'
import type { IpAddress } from '#wg/ip.ts'
import type { DesiredPeer, DesiredRoute } from '#wg/reconcile/desired.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import { Follower, Table } from '#wg/table.ts'
import { CidrClaims } from './claims.ts'
import type { FamilyView } from './family-view.ts'
import { KeyOwners } from './key-owners.ts'
import { heldKeys, type LaneStates, type PairOfStates } from './lanes.ts'
import { LANES, type Lane, type NodeName, type NodeRecord } from './node-record.ts'
import { ABSENT, type PeerState } from './peer-machine.ts'

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
  readonly peers = { main: new Table<PublicKey, DesiredPeer>(), spare: new Table<PublicKey, DesiredPeer>() }
  /** Nodes whose main device is changing. */
  readonly movers = new Set<NodeName>()
  /** To be looked at in each plan: time alone changes something. */
  readonly restless = new Set<NodeName>()
  readonly #scope: readonly unknown[]
  readonly #records = new Map<NodeName, NodeRecord>()
  readonly #keysOf: Readonly<Record<Lane, Map<NodeName, readonly PublicKey[]>>> = { main: new Map(), spare: new Map() }
  readonly #routes = new Table<string, DesiredRoute>()
  readonly #slotsOf = new Map<NodeName | undefined, ReadonlySet<string>>()
  #routeList: readonly DesiredRoute[] = []
  #listed = 0
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

  /**
   * Takes in what is to be seen, and settles who owns what.
   * @returns whom it may make a difference to; undefined for everybody
   */
  takeIn(view: FamilyView): ReadonlySet<NodeName> | undefined {
    const { keys, cidrs, states } = this
    const changed = this.#takeNodes(view)
    const due = new Set(this.restless)
    const stepped = LANES.flatMap(lane => [...(this.#states[lane].take(states[lane]) ?? states[lane].keys())])
    for (const name of new Set(stepped)) {
      due.add(name)
      keys.hold(name, heldKeys(this.statesOf(name)))
    }
    keys.own(ownKeys(view))
    keys.hear(key => callerAddress(view, key))
    const refreshed = cidrs.refresh(view.nodes, changed)
    const found = [refreshed, keys.takeChanged(), this.#takePathMtus(view), this.#takeMute(view)]
    const followed = LANES.flatMap(lane => {
      const { hellos, kernel } = view.lanes[lane]
      const seen = this.#kernel[lane].take(kernel.peers)
      return [this.#hellos[lane].take(hellos), seen && this.concerned(seen)]
    })
    if (followed.some(names => names === undefined)) return undefined
    for (const names of [...found, ...followed]) for (const name of names ?? []) due.add(name)
    return due
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
  everybody(view: FamilyView): ReadonlySet<NodeName> {
    const { states, cidrs, pairs } = this
    const known = [view.nodes.keys(), states.main.keys(), states.spare.keys(), cidrs.owner.table.values()]
    const planned = [pairs.keys(), ...LANES.map(lane => this.#keysOf[lane].keys()), this.#slotsOf.keys()]
    return new Set([...known, ...planned].flatMap(names => [...names].filter(name => name !== undefined)))
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

  /** Takes in the peers of some nodes on one device in place of what was planned for these before. */
  putPeers(lane: Lane, planned: ReadonlyMap<NodeName, ReadonlyMap<PublicKey, DesiredPeer>>): void {
    const left = new Set<PublicKey>()
    for (const name of planned.keys()) for (const key of this.#keysOf[lane].get(name) ?? []) left.add(key)
    for (const [name, peers] of planned) {
      for (const [key, peer] of peers) {
        this.peers[lane].set(key, peer)
        left.delete(key)
      }
      if (peers.size > 0) this.#keysOf[lane].set(name, [...peers.keys()])
      else this.#keysOf[lane].delete(name)
    }
    for (const key of left) this.peers[lane].delete(key)
  }

  /** Takes in the routes to some nodes in place of what led there before; those that lead to none are of `undefined`. */
  putRoutes(routes: ReadonlyMap<NodeName | undefined, Iterable<DesiredRoute>>): void {
    const left = new Set<string>()
    for (const name of routes.keys()) for (const slot of this.#slotsOf.get(name) ?? []) left.add(slot)
    for (const [name, all] of routes) {
      const slots = new Set<string>()
      for (const route of all) {
        const slot = `${route.table} ${route.destination}`
        const before = this.#routes.get(slot)
        if (!before || !sameRoute(before, route)) this.#routes.set(slot, route)
        slots.add(slot)
        left.delete(slot)
      }
      if (slots.size > 0) this.#slotsOf.set(name, slots)
      else this.#slotsOf.delete(name)
    }
    for (const slot of left) this.#routes.delete(slot)
  }

  /** The same list for as long as no route changes. */
  get routes(): readonly DesiredRoute[] {
    if (this.#listed !== this.#routes.edition) this.#routeList = [...this.#routes.values()]
    this.#listed = this.#routes.edition
    return this.#routeList
  }

  #takeNodes({ nodes, self, family }: FamilyView): readonly NodeName[] {
    const records = this.#records
    const named = this.#nodes.take(nodes) ?? new Set([...records.keys(), ...nodes.keys()])
    const changed = [...named].filter(name => records.get(name) !== nodes.get(name))
    for (const name of changed) {
      const node = nodes.get(name)
      if (node) records.set(name, node)
      else records.delete(name)
      this.keys.announce(name, name === self ? undefined : node)
      if (node?.spare[family]?.move === undefined) this.movers.delete(name)
      else this.movers.add(name)
    }
    return changed
  }

  #takePathMtus({ pathMtus }: FamilyView): readonly NodeName[] {
    const before = this.#pathMtus
    this.#pathMtus = pathMtus
    if (before === pathMtus) return []
    return [...before.keys(), ...pathMtus.keys()].filter(name => before.get(name) !== pathMtus.get(name))
  }

  #takeMute({ hosts }: FamilyView): readonly NodeName[] {
    const before = this.#mute
    this.#mute = hosts?.mute ?? new Set()
    return this.concerned(before.symmetricDifference(this.#mute))
  }

  concerned(keys: Iterable<PublicKey>): readonly NodeName[] {
    return [...keys].flatMap(key => [...this.keys.concerned(key)])
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
