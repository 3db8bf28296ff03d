import PQueue from 'p-queue'
import { cidrAddress, familyOf, hostCidr, type IpAddress, prefixLength } from '#wg/ip.ts'
import { addNamespaces, ipBatch, setSysctls } from './namespaces.ts'
import { type LabPlan, type NodePlan, namespacesOf, UNDERLAY } from './plan.ts'

/** Reverse-path filtering of the underlay: 0 off, 1 strict, 2 loose (ip-sysctl.rst). */
export type RpFilter = 0 | 1 | 2

export const BRIDGE = 'br0'
/** The node's interface on the underlay, and the pod's own. */
export const UPLINK = 'eth0'
/** The node's end of its pod's veth. */
export const POD_LINK = 'veth-pod'

/**
 * The kernel has one limit of neighbours for all namespaces (gc_thresh3, 1,024), which a mesh of more than some thirty
 * nodes overruns. Permanent neighbours do not count; smaller labs resolve theirs as real nodes do.
 */
const PERMANENT_NEIGHBOURS_ABOVE = 24

const macOf = (host: number): string => `02:70:76:00:00:${host.toString(16).padStart(2, '0')}`
const NODE_MAC_BASE = 10

/** Makes namespaces, links, addresses and routes. What exists after an error is for the caller to remove. @throws LabError */
export async function buildTopology(plan: LabPlan, rpFilter: RpFilter): Promise<void> {
  await addNamespaces(namespacesOf(plan))
  // Before any link is made: new interfaces take `default`, so no address waits for duplicate detection.
  await each(plan.nodes, async node => {
    await setSysctls(node.namespace, nodeSysctls(rpFilter))
    await setSysctls(node.podNamespace, { ...QUIET_IPV6, ...rpFilterSysctls(0) })
  })
  await setSysctls(plan.switchNamespace, { ...QUIET_IPV6, ...rpFilterSysctls(0), ...NOT_FORWARDING })
  await ipBatch(plan.switchNamespace, switchCommands(plan))
  await each(plan.nodes, async node => {
    await ipBatch(node.namespace, nodeCommands(plan, node))
    await ipBatch(node.podNamespace, podCommands(node))
  })
}

const each = (nodes: readonly NodePlan[], work: (node: NodePlan) => Promise<void>): Promise<unknown> =>
  new PQueue({ concurrency: 4 }).addAll(nodes.map(node => () => work(node)))

const QUIET_IPV6: Readonly<Record<string, number>> = {
  'ipv6/conf/all/disable_ipv6': 0,
  'ipv6/conf/default/disable_ipv6': 0,
  'ipv6/conf/all/accept_dad': 0,
  'ipv6/conf/default/accept_dad': 0,
  'ipv6/conf/default/dad_transmits': 0,
  'ipv6/conf/all/accept_ra': 0,
  'ipv6/conf/default/accept_ra': 0,
}

/** The kernel takes the larger of `all` and the interface's own, so the lab's value is on interfaces only, as distributions have it. */
const rpFilterSysctls = (value: RpFilter): Readonly<Record<string, number>> => ({
  'ipv4/conf/all/rp_filter': 0,
  'ipv4/conf/default/rp_filter': value,
})

const nodeSysctls = (rpFilter: RpFilter): Readonly<Record<string, number>> => ({
  ...QUIET_IPV6,
  ...rpFilterSysctls(rpFilter),
  // A new namespace has what the machine has, which may be another WireGuard's doing.
  'ipv4/conf/all/src_valid_mark': 0,
  'ipv4/ip_forward': 1,
  'ipv6/conf/all/forwarding': 1,
  'ipv6/conf/default/forwarding': 1,
  'ipv4/conf/all/send_redirects': 0,
  'ipv4/conf/default/send_redirects': 0,
})

/** A clear pod packet that takes a node's default route ends here: it is counted as a leak, and never comes back as if it had arrived. */
const NOT_FORWARDING: Readonly<Record<string, number>> = {
  'ipv4/ip_forward': 0,
  'ipv6/conf/all/forwarding': 0,
}

const withUnderlayLength = (address: IpAddress): string => `${address}/${prefixLength(UNDERLAY[familyOf(address)])}`

/** IPv6 addresses are usable at once. */
const noDad = (address: IpAddress): string => (familyOf(address) === 6 ? ' nodad' : '')

const ofSameFamily = (addresses: readonly IpAddress[], like: IpAddress): IpAddress | undefined =>
  addresses.find(address => familyOf(address) === familyOf(like))

function switchCommands(plan: LabPlan): string[] {
  return [
    'link set lo up',
    `link add ${BRIDGE} address ${macOf(1)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    ...plan.switchAddresses.map(address => `address add ${withUnderlayLength(address)} dev ${BRIDGE}${noDad(address)}`),
    `link set ${BRIDGE} up`,
    ...plan.nodes.flatMap(node => [
      `link add ${node.name} type veth peer name ${UPLINK} address ${macOf(NODE_MAC_BASE + node.index)} netns ${node.namespace}`,
      `link set ${node.name} master ${BRIDGE} up`,
    ]),
    ...permanentNeighbours(plan, undefined, BRIDGE),
  ]
}

function nodeCommands(plan: LabPlan, node: NodePlan): string[] {
  const peers = plan.nodes.filter(other => other.index !== node.index)
  return [
    'link set lo up',
    ...node.addresses.map(address => `address add ${withUnderlayLength(address)} dev ${UPLINK}${noDad(address)}`),
    `link set ${UPLINK} up`,
    `link add ${POD_LINK} type veth peer name ${UPLINK} netns ${node.podNamespace}`,
    // One address and one host route, as point-to-point CNI plugins have it.
    ...node.podGateways.map(gateway => `address add ${hostCidr(gateway)} dev ${POD_LINK}${noDad(gateway)}`),
    `link set ${POD_LINK} up`,
    ...node.podAddresses.map(address => `route add ${hostCidr(address)} dev ${POD_LINK}`),
    ...permanentNeighbours(plan, node, UPLINK),
    ...plan.switchAddresses.map(gateway => `route add default via ${gateway} dev ${UPLINK}`),
    ...peers.flatMap(peer =>
      peer.podCidrs.map(
        cidr => `route add ${cidr} via ${ofSameFamily(peer.addresses, cidrAddress(cidr))} dev ${UPLINK}`,
      ),
    ),
  ]
}

function podCommands(node: NodePlan): string[] {
  return [
    'link set lo up',
    ...node.podAddresses.map(address => `address add ${hostCidr(address)} dev ${UPLINK}${noDad(address)}`),
    `link set ${UPLINK} up`,
    ...node.podGateways.flatMap(gateway => [
      `route add ${hostCidr(gateway)} dev ${UPLINK}`,
      `route add default via ${gateway} dev ${UPLINK}`,
    ]),
  ]
}

function permanentNeighbours(plan: LabPlan, self: NodePlan | undefined, device: string): string[] {
  if (plan.nodes.length <= PERMANENT_NEIGHBOURS_ABOVE) return []
  const hosts = plan.nodes
    .filter(node => node.index !== self?.index)
    .map(node => ({ addresses: node.addresses, mac: macOf(NODE_MAC_BASE + node.index) }))
  if (self) hosts.push({ addresses: plan.switchAddresses, mac: macOf(1) })
  return hosts.flatMap(({ addresses, mac }) =>
    addresses.map(address => `neighbour replace ${address} lladdr ${mac} dev ${device} nud permanent`),
  )
}
