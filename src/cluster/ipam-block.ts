import type { IpamBlock, TunnelAddress } from '#src/mesh/ipam-block.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { type Cidr, familyOf, hostCidr, type IpAddress, nthAddress, parseCidr, prefixLength } from '#wg/ip.ts'
import { type JsonObject, listOf, member, objectOf, quote, textOf } from './hostile.ts'
import { birthDate } from './timestamp.ts'

/** Calico's largest blocks have 4,096 addresses. A wider one would draw what is not a pod's. */
const SHORTEST = { 4: 20, 6: 116 } as const
const MOST_ADDRESSES = 4096

/** Of `virtual:`, which addresses of services have, nothing is on a node. */
const AFFINITY = /^host:(.{1,253})$/

/** What Calico calls its own allocations for nodes (`libcalico-go/lib/ipam`). */
const WIREGUARD: readonly unknown[] = ['wireguardTunnelAddress', 'wireguardV6TunnelAddress']
const ENCAPSULATION: readonly unknown[] = ['ipipTunnelAddress', 'vxlanTunnelAddress', 'vxlanV6TunnelAddress']

/**
 * What the mesh keeps of an IPAMBlock.
 * @returns undefined for one that is being deleted: nothing is allocated of it any more
 * @throws Error for one without a usable CIDR
 */
export function projectIpamBlock(raw: unknown): IpamBlock | undefined {
  const object = objectOf(raw)
  const spec = objectOf(member(object, 'spec'))
  if (member(spec, 'deleted') === true) return undefined
  const cidr = blockCidr(member(spec, 'cidr'))
  const affinity = affineNode(member(spec, 'affinity'))
  const owners = listOf(member(spec, 'attributes')).map(attribute => objectOf(member(objectOf(attribute), 'secondary')))
  const elsewhere = new Map<Cidr, NodeName>()
  const tunnels: TunnelAddress[] = []
  for (const [address, secondary] of allocated(cidr, member(spec, 'allocations'), owners)) {
    const node = nodeName(member(secondary, 'node'))
    if (node === undefined) continue
    if (node !== affinity) elsewhere.set(hostCidr(address), node)
    const type = member(secondary, 'type')
    const wireguard = WIREGUARD.includes(type)
    if (wireguard || ENCAPSULATION.includes(type)) tunnels.push({ address, node, wireguard })
  }
  const metadata = objectOf(member(object, 'metadata'))
  const createdAt = birthDate(member(metadata, 'creationTimestamp'))
  const name = textOf(member(metadata, 'name'), 253) ?? ''
  return { name, cidr, createdAt: createdAt ?? Number.MAX_SAFE_INTEGER, affinity, elsewhere, tunnels }
}

/** Each address in use, with the attributes of whoever uses it. */
function* allocated(
  cidr: Cidr,
  allocations: unknown,
  owners: readonly JsonObject[],
): Generator<readonly [IpAddress, JsonObject]> {
  for (const [offset, index] of listOf(allocations).slice(0, MOST_ADDRESSES).entries()) {
    const owner = typeof index === 'number' ? owners[index] : undefined
    const address = owner && nthAddress(cidr, offset)
    if (owner && address !== undefined) yield [address, owner]
  }
}

function blockCidr(value: unknown): Cidr {
  const text = textOf(value, 64)
  if (!text?.includes('/')) throw new RangeError(`spec.cidr ${quote(value)} is not a CIDR`)
  const cidr = parseCidr(text)
  if (prefixLength(cidr) < SHORTEST[familyOf(cidr)])
    throw new RangeError(`spec.cidr ${quote(value)} is not one that a block can have`)
  return cidr
}

const affineNode = (value: unknown): NodeName | undefined => nodeName(AFFINITY.exec(textOf(value, 512) ?? '')?.[1])

const nodeName = (value: unknown): NodeName | undefined => (textOf(value, 253) || undefined) as NodeName | undefined
