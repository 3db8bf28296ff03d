import { type Cidr, type Endpoint, FAMILIES, type Family, familyOf, hostCidr, type IpAddress } from '#wg/ip.ts'
import type { DesiredFirewall } from '#wg/nftables/ruleset.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import { atOnce } from '#wg/slices.ts'
import { type Armed, guardRules, type PodveilSettings } from './guard.ts'
import type { NodeName, NodeRecord } from './node-record.ts'
import { territoriesInSteps } from './territories.ts'

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

/** What the packet filter must do, and what that follows from. */
export interface FirewallPlan {
  readonly desired: DesiredFirewall
  /** As they were, whatever becomes of the map that they were in. */
  readonly places: ReadonlyMap<NodeName, Place>
  readonly facts: Omit<FirewallFacts, 'nodes'>
}

/** What of a Node the firewall looks at. */
type Place = Pick<NodeRecord, 'podCidrs' | 'addresses'>

/**
 * @param changed Nodes that may be others than the plan before was made of; undefined for any
 * @returns the plan before, where nothing that it follows from has changed: most changes of a Node are of its keys
 */
export const planFirewall = (
  before: FirewallPlan | undefined,
  facts: FirewallFacts,
  changed?: Iterable<NodeName>,
): FirewallPlan => atOnce(planFirewallInSteps(before, facts, changed))

/** The same in steps, of the Nodes as they are before the first. */
export function* planFirewallInSteps(
  before: FirewallPlan | undefined,
  { nodes, ...facts }: FirewallFacts,
  changed?: Iterable<NodeName>,
): Generator<undefined, FirewallPlan> {
  if (before && samePlaces(before.places, nodes, changed) && sameFacts(before.facts, facts)) return before
  const seen = new Map(nodes)
  const desired = yield* desiredInSteps({ nodes: seen, ...facts })
  const placeOf = ({ name, podCidrs, addresses }: NodeRecord) => [name, { podCidrs, addresses }] as const
  return { desired, places: new Map(Array.from(seen.values(), placeOf)), facts }
}

/** What the packet filter must do while the mesh is there, or is being left. */
export const desiredFirewall = (facts: FirewallFacts): DesiredFirewall => atOnce(desiredInSteps(facts))

function* desiredInSteps(facts: FirewallFacts): Generator<undefined, DesiredFirewall> {
  const { self, nodes, devices, deviceAddresses, mark, helloPort, guard, apiServers } = facts
  const hosts = noPrefixes()
  const localPods = noPrefixes()
  const remotes = noPrefixes()
  const own = noPrefixes()
  const pods = yield* territoriesInSteps(nodes)
  for (const { name, addresses } of nodes.values()) {
    for (const cidr of pods.get(name) ?? []) (name === self ? localPods : remotes)[familyOf(cidr)].add(cidr)
    if (name !== self) for (const address of addresses) hosts[familyOf(address)].add(hostCidr(address))
    yield
  }
  for (const family of FAMILIES) for (const cidr of hosts[family]) remotes[family].add(cidr)
  for (const address of deviceAddresses) own[familyOf(address)].add(hostCidr(address))
  return {
    ...{ mark, devices, helloPort, localPods, remotes, deviceAddresses: own },
    guard:
      guard && (yield* guardRules(guard.mode, self, nodes, pods, guard.settings, guard.armed, guard.wireguardPorts)),
    hosts: apiServers && { addresses: hosts, apiServers },
  }
}

function samePlaces(
  before: FirewallPlan['places'],
  nodes: ReadonlyMap<NodeName, Place>,
  changed: Iterable<NodeName> = nodes.keys(),
): boolean {
  if (before.size !== nodes.size) return false
  for (const name of changed) {
    const [was, is] = [before.get(name), nodes.get(name)]
    if (!was || !is) {
      if (was || is) return false
    } else if (!sameInputs(was.podCidrs, is.podCidrs) || !sameInputs(was.addresses, is.addresses)) return false
  }
  return true
}

const sameFacts = (a: FirewallPlan['facts'], b: FirewallPlan['facts']): boolean =>
  a.self === b.self &&
  a.mark === b.mark &&
  a.helloPort === b.helloPort &&
  sameInputs(a.devices, b.devices) &&
  sameInputs(a.deviceAddresses, b.deviceAddresses) &&
  a.apiServers === b.apiServers &&
  (a.guard === undefined || b.guard === undefined ? a.guard === b.guard : sameGuard(a.guard, b.guard))

const sameGuard = (a: GuardFacts, b: GuardFacts): boolean =>
  a.mode === b.mode &&
  FAMILIES.every(family => a.armed[family] === b.armed[family]) &&
  sameInputs(a.wireguardPorts, b.wireguardPorts) &&
  sameInputs(a.settings.podSupernets, b.settings.podSupernets) &&
  sameInputs(a.settings.natExceptions, b.settings.natExceptions) &&
  sameInputs([...a.settings.clearTextNodes], [...b.settings.clearTextNodes])

const noPrefixes = (): Record<Family, Set<Cidr>> =>
  Object.fromEntries(FAMILIES.map(family => [family, new Set<Cidr>()])) as Record<Family, Set<Cidr>>
