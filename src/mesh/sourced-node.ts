import { type Few, few } from '#wg/few.ts'
import { type Cidr, FAMILIES, type Family, familyOf } from '#wg/ip.ts'
import { isOwnAddress } from './device-address.ts'
import { type Announcement, type NodeRecord, ofFamilies } from './node-record.ts'
import type { RouteSource } from './route-source.ts'

/** What a Node does not say itself. */
export interface NodeCircumstances {
  readonly source: RouteSource
  /** Its prefixes by that source. */
  readonly owned: Few<Cidr>
  /** Where Felix listens on this node, by its configuration. */
  readonly felixPort: (family: Family) => number
}

/**
 * A Node as the mesh takes it: its pods' prefixes are those that the route source gives it, all disputes settled, and what
 * it says of its device's address is believed only where it may say so.
 */
export function sourcedNode(node: NodeRecord, { source, owned, felixPort }: NodeCircumstances): NodeRecord {
  const podCidrs = source === 'PodCIDR' ? ownedOf(node.podCidrs, owned) : [...owned].sort()
  const faults: string[] = []
  const believed = (family: Family): Announcement | undefined => {
    const told = node.announced[family]
    const announced = told && told.hello === undefined ? { ...told, port: told.port ?? felixPort(family) } : told
    const address = announced?.interfaceAddress
    // For a Felix node Calico's IPAM allocates it, and from wherever it likes.
    if (!announced || address === undefined || announced.hello === undefined) return announced
    // A change of source must not unsay what the Node's own pod CIDRs have said.
    const own = source === 'PodCIDR' ? podCidrs : [...podCidrs, ...node.podCidrs]
    const hasNone = source === 'PodCIDR' && !node.podCidrs.some(cidr => familyOf(cidr) === family)
    if (hasNone || isOwnAddress(address, own)) return announced
    faults.push(
      own.length === 0
        ? `announces the interface address ${address}, and has no prefix of its own`
        : `announces the interface address ${address}, which is outside of its own ${own.join(', ')}`,
    )
    return { ...announced, interfaceAddress: undefined }
  }
  const [v4, v6] = FAMILIES.map(believed)
  const same = v4 === node.announced[4] && v6 === node.announced[6]
  if (same && podCidrs === node.podCidrs && faults.length === 0) return node
  const announced = same ? node.announced : ofFamilies(v4, v6)
  return { ...node, podCidrs, announced, faults: faults.length > 0 ? [...node.faults, ...faults] : node.faults }
}

/** Most often all of them, which is then the same list. */
const ownedOf = (cidrs: Few<Cidr>, owned: Few<Cidr>): Few<Cidr> =>
  cidrs.every(cidr => owned.includes(cidr)) ? cidrs : few(cidrs.filter(cidr => owned.includes(cidr)))
