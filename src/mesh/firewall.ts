import { NONE } from '#wg/few.ts'
import { type Cidr, type Endpoint, FAMILIES, type Family, familyOf, hostCidr, type IpAddress } from '#wg/ip.ts'
import type { DesiredFirewall } from '#wg/nftables/ruleset.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import { atOnce } from '#wg/slices.ts'
import { Follower } from '#wg/table.ts'
import { CountedPrefixes } from './counted-prefixes.ts'
import type { Armed, PodveilSettings } from './guard.ts'
import type { NodeName, NodeRecord } from './node-record.ts'
import { Territories } from './territories.ts'

/** What the firewall must know of this node. */
export interface FirewallFacts {
  readonly self: NodeName
  readonly nodes: ReadonlyMap<NodeName, NodeRecord>
  /** Names of the WireGuard devices, there or not. */
  readonly devices: readonly string[]
  /** Addresses that those devices have. */
  readonly deviceAddresses: readonly IpAddress[]
  readonly mark: number
  readonly helloPort: number
  readonly guard: GuardFacts | undefined
  /** Where this node speaks with the API server, never changed in place; undefined without host encryption. */
  readonly apiServers?: readonly Endpoint[] | undefined
}

export interface GuardFacts {
  readonly mode: 'audit' | 'enforce'
  readonly settings: PodveilSettings
  /** Never changed in place: another state of it is another object. */
  readonly armed: Armed
  readonly wireguardPorts: readonly number[]
}

type OwnFacts = Omit<FirewallFacts, 'nodes'>

/** What of a Node the firewall looks at. */
interface Place {
  readonly isSelf: boolean
  readonly podCidrs: readonly Cidr[]
  /** Of these, what no other node has borrowed. */
  readonly pods: readonly Cidr[]
  readonly addresses: readonly IpAddress[]
  /** How it is let in in clear, if it is. */
  readonly open: Readonly<Record<Family, Openness>>
}

type Openness = 'clear' | 'unarmed' | undefined

const SETS = ['local', 'remote', 'supernet', 'node', 'clear', 'unarmed', 'pinned'] as const
type SetName = (typeof SETS)[number]

/**
 * What the packet filter must do while the mesh is there, or is being left. It goes on from what it said before: a Node that
 * changes costs what it has, however many others there are.
 */
export class FirewallPlanner {
  readonly #followed = new Follower<NodeName>()
  readonly #territories = new Territories()
  readonly #places = new Map<NodeName, Place>()
  readonly #sets = Object.fromEntries(SETS.map(name => [name, new CountedPrefixes()])) as Record<
    SetName,
    CountedPrefixes
  >
  #facts: OwnFacts | undefined
  #desired: DesiredFirewall | undefined;

  /**
   * In steps; what changes in the map of Nodes meanwhile is for the next plan. Its sets are changed in place by later ones. One
   * that was not taken to its end leaves nothing to go on from: begin with another planner.
   * @returns the same object as before where nothing that it follows from has changed: most changes of a Node are of its keys
   */
  *plan({ nodes, ...facts }: FirewallFacts): Generator<undefined, DesiredFirewall> {
    const before = this.#facts
    this.#facts = facts
    const due = new Set(this.#followed.take(nodes) ?? this.#everybody(nodes))
    for (const name of due) {
      this.#territories.put(name, nodes.get(name)?.podCidrs ?? NONE)
      yield
    }
    for (const name of this.#territories.takeChanged()) {
      due.add(name)
      yield
    }
    for (const name of reopened(before, facts) ?? this.#everybody(nodes)) due.add(name)
    let isNew = !before || !sameRules(before, facts)
    for (const name of due) {
      const node = nodes.get(name)
      // It has gone since it was put.
      if (!node) this.#territories.put(name, NONE)
      if (this.#move(name, node && placeOf(node, this.#territories.of(name), facts))) isNew = true
      yield
    }
    if (this.#exchange(settingPrefixes(facts), before ? settingPrefixes(before) : NONE)) isNew = true
    if (isNew) this.#desired = undefined
    this.#desired ??= this.#describe(facts)
    return this.#desired
  }

  #everybody(nodes: FirewallFacts['nodes']): Iterable<NodeName> {
    return new Set([...this.#places.keys(), ...nodes.keys()])
  }

  /** @returns whether anything is other than before */
  #move(name: NodeName, after: Place | undefined): boolean {
    const before = this.#places.get(name)
    if (before && after ? samePlace(before, after) : before === after) return false
    if (after) this.#places.set(name, after)
    else this.#places.delete(name)
    return this.#exchange(after ? placePrefixes(after) : NONE, before ? placePrefixes(before) : NONE)
  }

  /** What stays is put before it is taken out, so that nobody sees it go. @returns whether there was anything */
  #exchange(after: Iterable<SetPrefix>, before: Iterable<SetPrefix>): boolean {
    const [added, removed] = [[...after], [...before]]
    if (sameInputs(added.flat(), removed.flat())) return false
    for (const [set, cidr] of added) this.#sets[set].put(cidr)
    for (const [set, cidr] of removed) this.#sets[set].drop(cidr)
    return true
  }

  #describe({ mark, devices, helloPort, deviceAddresses, guard, apiServers }: OwnFacts): DesiredFirewall {
    const { local, remote, supernet, node, clear, unarmed, pinned } = this.#sets
    const own = new CountedPrefixes()
    for (const address of deviceAddresses) own.put(hostCidr(address))
    return {
      ...{
        mark,
        devices,
        helloPort,
        localPods: local.byFamily,
        remotes: remote.byFamily,
        nodes: node.byFamily,
        deviceAddresses: own.byFamily,
      },
      guard: guard && {
        mode: guard.mode,
        supernets: supernet.byFamily,
        clear: clear.byFamily,
        unarmed: unarmed.byFamily,
        pinned: pinned.byFamily,
        wireguardPorts: guard.wireguardPorts,
      },
      hosts: apiServers && { apiServers },
    }
  }
}

/** The same with nothing to go on from. */
export const desiredFirewall = (facts: FirewallFacts): DesiredFirewall => atOnce(new FirewallPlanner().plan(facts))

type SetPrefix = readonly [SetName, Cidr]

function placeOf({ name, podCidrs, addresses }: NodeRecord, pods: readonly Cidr[], { self, guard }: OwnFacts): Place {
  const openIn = (family: Family): Openness => {
    if (guard?.settings.clearTextNodes.has(name)) return 'clear'
    return guard?.armed[family].has(name) ? undefined : 'unarmed'
  }
  return { isSelf: name === self, podCidrs, pods, addresses, open: openness(openIn(4), openIn(6)) }
}

const OPENNESS = (['clear', 'unarmed', undefined] as const).flatMap(v4 =>
  (['clear', 'unarmed', undefined] as const).map(v6 => ({ 4: v4, 6: v6 })),
)

/** One for all Nodes that are open alike: numbers for keys have each object keep an array of its own. */
const openness = (v4: Openness, v6: Openness): Place['open'] =>
  OPENNESS.find(one => one[4] === v4 && one[6] === v6) ?? { 4: v4, 6: v6 }

const samePlace = (a: Place, b: Place): boolean =>
  a.isSelf === b.isSelf &&
  sameInputs(a.podCidrs, b.podCidrs) &&
  sameInputs(a.pods, b.pods) &&
  sameInputs(a.addresses, b.addresses) &&
  FAMILIES.every(family => a.open[family] === b.open[family])

/** The pods of every Node are closed, this one's included. */
function* placePrefixes({ isSelf, podCidrs, pods, addresses, open }: Place): Generator<SetPrefix> {
  for (const cidr of podCidrs) yield ['supernet', cidr]
  if (isSelf) {
    for (const cidr of pods) yield ['local', cidr]
    return
  }
  const hosts = addresses.map(hostCidr)
  for (const cidr of hosts) {
    yield ['node', cidr]
    yield ['pinned', cidr]
  }
  for (const cidr of [...pods, ...hosts]) {
    yield ['remote', cidr]
    const set = open[familyOf(cidr)]
    if (set) yield [set, cidr]
  }
}

function* settingPrefixes({ guard }: OwnFacts): Generator<SetPrefix> {
  for (const cidr of guard?.settings.podSupernets ?? NONE) yield ['supernet', cidr]
  for (const cidr of guard?.settings.natExceptions ?? NONE) yield ['pinned', cidr]
}

/** Nodes that may be let in otherwise than before; undefined for any. */
function reopened(before: OwnFacts | undefined, after: OwnFacts): Iterable<NodeName> | undefined {
  if (before?.self !== after.self || !before.guard !== !after.guard) return undefined
  const [was, is] = [before.guard, after.guard]
  if (!was || !is) return NONE
  const listed = was.settings.clearTextNodes.symmetricDifference(is.settings.clearTextNodes)
  const armed = FAMILIES.filter(family => was.armed[family] !== is.armed[family]).map(family =>
    was.armed[family].symmetricDifference(is.armed[family]),
  )
  return [listed, ...armed].flatMap(names => [...names])
}

/** What is said beside the prefixes. */
const sameRules = (a: OwnFacts, b: OwnFacts): boolean =>
  a.mark === b.mark &&
  a.helloPort === b.helloPort &&
  sameInputs(a.devices, b.devices) &&
  sameInputs(a.deviceAddresses, b.deviceAddresses) &&
  a.apiServers === b.apiServers &&
  a.guard?.mode === b.guard?.mode &&
  sameInputs(a.guard?.wireguardPorts ?? NONE, b.guard?.wireguardPorts ?? NONE)
