export const ROUTE_SOURCES = ['PodCIDR', 'CalicoIPAM', 'WorkloadIPs'] as const

/** What says which pod addresses are on which node. */
export type RouteSource = (typeof ROUTE_SOURCES)[number]

/** What the choice depends on. */
export interface RouteSourceFacts {
  /** routeSource of PodveilConfiguration, else of FelixConfiguration; undefined where nobody says. */
  readonly asked: RouteSource | undefined
  /** There is an IPAMBlock. */
  readonly hasBlocks: boolean
  /** There is a Node with a pod CIDR. */
  readonly hasPodCidrs: boolean
}

/**
 * The source that counts, the same on every node. Calico without a block of its own hands out addresses of the Nodes' pod
 * CIDRs (host-local IPAM): Felix takes these then, whatever routeSource says.
 */
export function chooseRouteSource({ asked, hasBlocks, hasPodCidrs }: RouteSourceFacts): RouteSource {
  if (asked === 'PodCIDR' || asked === 'WorkloadIPs') return asked
  if (hasBlocks) return 'CalicoIPAM'
  if (hasPodCidrs) return 'PodCIDR'
  return asked ?? 'WorkloadIPs'
}
