import { type Cidr, type Endpoint, FAMILIES, type Family, familyOf, hostCidr, type IpAddress } from '#wg/ip.ts'
import type { DesiredFirewall } from '#wg/nftables/ruleset.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import { type Armed, guardRules, type PodveilSettings } from './guard.ts'
import type { NodeName, NodeRecord } from './node-record.ts'
import { territories } from './territories.ts'

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
  readonly places: readonly Place[]
  readonly facts: Omit<FirewallFacts, 'nodes'>
}

/** What of a Node the firewall looks at. */
type Place = Pick<NodeRecord, 'name' | 'podCidrs' | 'addresses'>

/** @returns the plan before, where nothing that it follows from has changed: most changes of a Node are of its keys */
export function planFirewall(before: FirewallPlan | undefined, { nodes, ...facts }: FirewallFacts): FirewallPlan {
  if (before && samePlaces(before.places, nodes) && sameFacts(before.facts, facts)) return before
  const places = Array.from(nodes.values(), ({ name, podCidrs, addresses }) => ({ name, podCidrs, addresses }))
  return { desired: desiredFirewall({ nodes, ...facts }), places, facts }
}

/** What the packet filter must do while the mesh is there, or is being left. */
export function desiredFirewall(facts: FirewallFacts): DesiredFirewall {
  const { self, nodes, devices, deviceAddresses, mark, helloPort, guard, apiServers } = facts
  const hosts = noPrefixes()
  const localPods = noPrefixes()
  const remotes = noPrefixes()
  const own = noPrefixes()
  for (const [name, cidrs] of territories(nodes))
    for (const cidr of cidrs) (name === self ? localPods : remotes)[familyOf(cidr)].add(cidr)
  for (const { name, addresses } of nodes.values())
    if (name !== self) for (const address of addresses) hosts[familyOf(address)].add(hostCidr(address))
  for (const family of FAMILIES) for (const cidr of hosts[family]) remotes[family].add(cidr)
  for (const address of deviceAddresses) own[familyOf(address)].add(hostCidr(address))
  return {
    ...{ mark, devices, helloPort, localPods, remotes, deviceAddresses: own },
    guard: guard && guardRules(guard.mode, self, nodes, guard.settings, guard.armed, guard.wireguardPorts),
    hosts: apiServers && { addresses: hosts, apiServers },
  }
}

/** In order, as of two Nodes that claim one prefix the later one has it. */
function samePlaces(before: readonly Place[], nodes: ReadonlyMap<NodeName, NodeRecord>): boolean {
  if (before.length !== nodes.size) return false
  let at = 0
  for (const { name, podCidrs, addresses } of nodes.values()) {
    const place = before[at++]
    if (place?.name !== name || !sameInputs(place.podCidrs, podCidrs) || !sameInputs(place.addresses, addresses))
      return false
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
