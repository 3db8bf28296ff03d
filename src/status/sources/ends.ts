import type { ApiClient } from '#src/cluster/api-client.ts'
import { listOf, member, objectOf, textOf } from '#src/cluster/hostile.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import { type Cidr, cidrContains, type IpAddress, parseAddress } from '#wg/ip.ts'
import type { Place } from '../explain.ts'
import type { NodeSnapshot } from '../snapshot.ts'

/** What FROM or TO means, as far as this node's agent knows: an address, or a node. */
export function nodeEnd(text: string, snapshot: NodeSnapshot): readonly IpAddress[] | undefined {
  const literal = addressOf(text)
  return literal ? [literal] : knownNode(text, snapshot)
}

/**
 * The same by the API: an address, a node, or a pod, `name` or `namespace/name`.
 * @throws ApiError and its like; Error for a pod without an address
 */
export async function resolveEnd(
  text: string,
  nodes: readonly NodeRecord[],
  client: ApiClient,
): Promise<readonly IpAddress[]> {
  const literal = addressOf(text)
  if (literal) return [literal]
  return nodes.find(({ name }) => name === text)?.addresses ?? (await podAddresses(text, client))
}

/** Whose address it is, by what the API has. */
export function placeAmong(address: IpAddress, label: string, nodes: readonly NodeRecord[]): Place {
  const node = nodes.find(({ addresses }) => addresses.includes(address))
  if (node) return { address, label, node: node.name, kind: 'node' }
  const pods = nodes.find(({ podCidrs }) => podCidrs.some((cidr: Cidr) => cidrContains(cidr, address)))
  return pods ? { address, label, node: pods.name, kind: 'pod' } : { address, label, node: undefined, kind: 'outside' }
}

function addressOf(text: string): IpAddress | undefined {
  try {
    return parseAddress(text)
  } catch {
    return undefined
  }
}

function knownNode(name: string, snapshot: NodeSnapshot): readonly IpAddress[] | undefined {
  const texts =
    name === snapshot.node
      ? snapshot.addresses
      : snapshot.families.flatMap(({ peers }) => peers.filter(({ node }) => node === name).flatMap(p => p.addresses))
  const addresses = texts.flatMap(text => addressOf(text) ?? [])
  return addresses.length > 0 ? addresses : undefined
}

async function podAddresses(text: string, client: ApiClient): Promise<IpAddress[]> {
  const [namespace, name] = text.includes('/') ? text.split('/', 2) : ['default', text]
  const pod = await client.get(
    `/api/v1/namespaces/${encodeURIComponent(namespace ?? '')}/pods/${encodeURIComponent(name ?? '')}`,
  )
  const status = objectOf(member(objectOf(pod), 'status'))
  const listed = listOf(member(status, 'podIPs')).map(one => member(objectOf(one), 'ip'))
  const addresses = [...listed, member(status, 'podIP')].flatMap(ip => addressOf(textOf(ip, 64) ?? '') ?? [])
  if (addresses.length === 0) throw new Error(`pod ${text} has no address yet: is it running?`)
  return [...new Set(addresses)]
}
