import { hostCidr, type IpAddress } from '#wg/ip.ts'
import type { Claimant } from './cidr-owners.ts'
import type { NodeName } from './node-record.ts'

/** What the mesh keeps of a Pod that has addresses of its own. */
export interface Workload {
  /** `namespace/name`. */
  readonly id: string
  /** Unix time in seconds of metadata.creationTimestamp. */
  readonly createdAt: number
  /** It is being deleted: its addresses may be another one's already. */
  readonly leaving: boolean
  readonly node: NodeName
  readonly addresses: readonly IpAddress[]
}

/** Begins the name of a claimant that is a Pod. */
export const POD = 'pod '

export const workloadClaimant = ({ id, createdAt, leaving, node, addresses }: Workload): Claimant => ({
  id: `${POD}${id}`,
  createdAt,
  leaving,
  claims: addresses.map(address => ({ cidr: hostCidr(address), node, exclusive: false })),
})
