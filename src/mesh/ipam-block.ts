import type { Cidr, IpAddress } from '#wg/ip.ts'
import type { Claimant } from './cidr-owners.ts'
import type { NodeName } from './node-record.ts'

/** What the mesh keeps of an IPAMBlock of Calico. */
export interface IpamBlock {
  /** metadata.name: the CIDR with dashes. */
  readonly name: string
  readonly cidr: Cidr
  /** Unix time in seconds of metadata.creationTimestamp. */
  readonly createdAt: number
  /** Whose block it is (affinity `host:<node>`); undefined where it is nobody's. */
  readonly affinity: NodeName | undefined
  /** Allocated addresses that are on another node than the block, each as a prefix. */
  readonly elsewhere: ReadonlyMap<Cidr, NodeName>
  /** Addresses that Calico has allocated to nodes' own tunnel devices. */
  readonly tunnels: readonly TunnelAddress[]
}

export interface TunnelAddress {
  readonly address: IpAddress
  readonly node: NodeName
  /** Of the WireGuard device; else of that of IPIP or VXLAN. */
  readonly wireguard: boolean
}

/** Begins the name of a claimant that is a block. */
export const BLOCK = 'IPAM block '

/** The block belongs to its node, an address that another node borrowed to that one. */
export const blockClaimant = ({ name, cidr, createdAt, affinity, elsewhere }: IpamBlock): Claimant => ({
  id: `${BLOCK}${name}`,
  createdAt,
  leaving: false,
  claims: [
    ...(affinity === undefined ? [] : [{ cidr, node: affinity, exclusive: true }]),
    // A block of a single address is that address.
    ...Array.from(elsewhere)
      .filter(([address]) => address !== cidr || affinity === undefined)
      .map(([address, node]) => ({ cidr: address, node, exclusive: false })),
  ],
})
