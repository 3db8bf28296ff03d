import type { ApiClient } from '#src/cluster/api-client.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { Place } from '#src/status/explain.ts'
import { byName } from '#src/status/format.ts'
import { anyPodOn, placesOf } from '#src/status/sources/ends.ts'
import { type Family, familyOf, nthAddress } from '#wg/ip.ts'

/** Where one side sends from and is sent to. */
export interface Spot {
  readonly node: NodeRecord
  readonly places: readonly Place[]
}

/**
 * What FROM or TO means: a pod, an address, or a node, which stands for its pods, as nothing between nodes themselves is
 * encrypted.
 * @throws Error for what is of no node; ApiError and its like
 */
export async function spotOf(
  text: string,
  nodes: readonly NodeRecord[],
  client: ApiClient,
  family: Family | undefined,
): Promise<Spot> {
  const named = nodes.find(({ name }) => name === text)
  const places = named ? await podsOf(named, client) : await placesOf(text, nodes, client)
  const wanted = places.filter(({ address }) => family === undefined || familyOf(address) === family)
  const node = nodes.find(({ name }) => name === wanted[0]?.node)
  if (wanted.length === 0)
    throw new Error(`${text} has no ${family ? `IPv${family} ` : ''}address to verify: name a pod on it`)
  if (!node) throw new Error(`${text} is of no node of the mesh: Podveil encrypts between nodes`)
  return { node, places: wanted }
}

/** Each node with the next one, by name; all pairs of three nodes. */
export function ringOf(nodes: readonly NodeRecord[]): [NodeName, NodeName][] {
  const names = nodes.map(({ name }) => name).sort(byName)
  const neighbours = names.map((name, i): [NodeName, NodeName] => [name, names[(i + 1) % names.length] ?? name])
  return names.length === 2 ? neighbours.slice(0, 1) : neighbours
}

/**
 * The first address of each pod prefix, which the node itself has: it stands for a pod as far as routes and filters go. Of a
 * Node without prefixes, some pod's.
 */
async function podsOf(node: NodeRecord, client: ApiClient): Promise<Place[]> {
  const first = node.podCidrs.flatMap(cidr => nthAddress(cidr, 1) ?? [])
  const addresses = first.length > 0 ? first : await anyPodOn(node, client)
  return addresses.map(address => ({ address, label: node.name, node: node.name, kind: 'pod' }))
}
