import { type Cidr, FAMILIES, type Family, familyOf, hostCidr } from '#wg/ip.ts'
import type { DesiredFirewall } from '#wg/nftables/ruleset.ts'
import type { NodeName, NodeRecord } from './node-record.ts'
import type { FamilyPlan } from './plan.ts'

/**
 * What the packet filter must do while the mesh is there, or is being left.
 * @returns undefined when neither family has a device
 */
export function desiredFirewall(
  self: NodeName,
  nodes: ReadonlyMap<NodeName, NodeRecord>,
  plans: Readonly<Record<Family, FamilyPlan | undefined>>,
  mark: number,
  helloPort: number,
): DesiredFirewall | undefined {
  const devices = FAMILIES.map(family => plans[family]?.desired.device).filter(device => device !== undefined)
  if (devices.length === 0) return undefined
  const localPods = noPrefixes()
  const remotes = noPrefixes()
  const deviceAddresses = noPrefixes()
  for (const { name, podCidrs, addresses } of nodes.values()) {
    for (const cidr of podCidrs) (name === self ? localPods : remotes)[familyOf(cidr)].add(cidr)
    if (name !== self) for (const address of addresses) remotes[familyOf(address)].add(hostCidr(address))
  }
  for (const { addresses } of devices)
    for (const address of addresses) deviceAddresses[familyOf(address)].add(hostCidr(address))
  return { mark, devices: devices.map(({ name }) => name), helloPort, localPods, remotes, deviceAddresses }
}

const noPrefixes = (): Record<Family, Set<Cidr>> => ({ 4: new Set(), 6: new Set() })
