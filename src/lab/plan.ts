import type { Family, IpAddress } from '#wg/ip.ts'
import { type Cidr, FAMILIES, parseAddress, parseCidr } from '#wg/ip.ts'
import { LabError } from './errors.ts'

/** Address families that a lab carries. */
export type Families = '4' | '6' | 'dual'

/** A node of the lab, as it will be or as it is. */
export interface NodePlan {
  /** Its place, from 1; in its name and in every address. */
  readonly index: number
  /** metadata.name of its Node object. */
  readonly name: string
  /** Network namespace of the node. */
  readonly namespace: string
  /** Addresses on the underlay, IPv4 before IPv6. */
  readonly addresses: readonly IpAddress[]
  readonly podCidrs: readonly Cidr[]
  /** The pod's name, which `exec` takes as well. */
  readonly podName: string
  readonly podNamespace: string
  readonly podAddresses: readonly IpAddress[]
  /** What the pod has as its gateway: the node's own address in each pod CIDR. */
  readonly podGateways: readonly IpAddress[]
}

/** Everything that follows from a lab's name, size and families. */
export interface LabPlan {
  readonly name: string
  readonly families: readonly Family[]
  /** The namespace of bridge and control plane. */
  readonly switchNamespace: string
  readonly switchAddresses: readonly IpAddress[]
  readonly nodes: readonly NodePlan[]
}

/** The bridge's host part of the underlay is .1 and nodes start at .11; pod CIDRs carry the node's index. */
export const MAX_NODES = 100

export const API_PORT = 6443

/** All pod CIDRs of a lab are in these, so that what is a pod packet can be told from its outer header alone. */
export const POD_SUPERNETS: Readonly<Record<Family, Cidr>> = {
  4: parseCidr('10.244.0.0/16'),
  6: parseCidr('fd00:244::/32'),
}

export const UNDERLAY: Readonly<Record<Family, Cidr>> = {
  4: parseCidr('10.200.0.0/24'),
  6: parseCidr('fd00:200::/64'),
}

/** Addresses as people read them: the index is written in decimal in both families, so `::11` is node 1. */
const underlayAddress = (family: Family, host: number): IpAddress =>
  parseAddress(family === 4 ? `10.200.0.${host}` : `fd00:200::${host}`)

const podPrefix = (family: Family, index: number): string => (family === 4 ? `10.244.${index}.` : `fd00:244:${index}::`)

const familiesOf = (families: Families): readonly Family[] =>
  families === 'dual' ? FAMILIES : families === '4' ? [4] : [6]

/** @throws LabError when the name or the number of nodes cannot be used */
export function planLab(name: string, nodeCount: number, families: Families): LabPlan {
  checkLabName(name)
  if (!Number.isInteger(nodeCount) || nodeCount < 1 || nodeCount > MAX_NODES)
    throw new LabError('ERR_LAB_OPTION', `a lab has 1 to ${MAX_NODES} nodes, not ${nodeCount}`)
  const carried = familiesOf(families)
  return {
    name,
    families: carried,
    switchNamespace: `podveil-${name}-switch`,
    switchAddresses: carried.map(family => underlayAddress(family, 1)),
    nodes: Array.from({ length: nodeCount }, (_, i) => planNode(name, i + 1, carried)),
  }
}

function planNode(lab: string, index: number, families: readonly Family[]): NodePlan {
  return {
    index,
    name: `node-${index}`,
    namespace: `podveil-${lab}-node-${index}`,
    addresses: families.map(family => underlayAddress(family, 10 + index)),
    podCidrs: families.map(family => parseCidr(`${podPrefix(family, index)}${family === 4 ? '0/24' : '/64'}`)),
    podName: `pod-${index}`,
    podNamespace: `podveil-${lab}-pod-${index}`,
    podAddresses: families.map(family => parseAddress(`${podPrefix(family, index)}10`)),
    podGateways: families.map(family => parseAddress(`${podPrefix(family, index)}1`)),
  }
}

/** The name is part of namespaces and paths. @throws LabError */
export function checkLabName(name: string): void {
  if (!/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/.test(name))
    throw new LabError(
      'ERR_LAB_OPTION',
      `${JSON.stringify(name.slice(0, 40))} cannot name a lab: use up to 32 lower-case letters, digits and inner dashes`,
    )
}

/** Whether a network namespace belongs to the lab of this name, and to no other one whose name starts alike. */
export const isNamespaceOf = (lab: string, namespace: string): boolean =>
  namespace.startsWith(`podveil-${lab}-`) && /^(switch|(node|pod)-\d+)$/.test(namespace.slice(`podveil-${lab}-`.length))

/** All network namespaces of a lab. */
export const namespacesOf = (plan: LabPlan): string[] => [
  plan.switchNamespace,
  ...plan.nodes.flatMap(node => [node.namespace, node.podNamespace]),
]
