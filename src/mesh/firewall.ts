import { type Cidr, FAMILIES, type Family, familyOf, hostCidr, type IpAddress } from '#wg/ip.ts'
import type { DesiredFirewall, GuardRules } from '#wg/nftables/ruleset.ts'
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
  readonly guard: GuardRules | undefined
}

/** What the packet filter must do while the mesh is there, or is being left. */
export function desiredFirewall(facts: FirewallFacts): DesiredFirewall {
  const { self, nodes, devices, deviceAddresses, mark, helloPort, guard } = facts
  const localPods = noPrefixes()
  const remotes = noPrefixes()
  const own = noPrefixes()
  for (const [name, cidrs] of territories(nodes))
    for (const cidr of cidrs) (name === self ? localPods : remotes)[familyOf(cidr)].add(cidr)
  for (const { name, addresses } of nodes.values())
    if (name !== self) for (const address of addresses) remotes[familyOf(address)].add(hostCidr(address))
  for (const address of deviceAddresses) own[familyOf(address)].add(hostCidr(address))
  return { mark, devices, helloPort, localPods, remotes, deviceAddresses: own, guard }
}

const noPrefixes = (): Record<Family, Set<Cidr>> =>
  Object.fromEntries(FAMILIES.map(family => [family, new Set<Cidr>()])) as Record<Family, Set<Cidr>>
