import type { ApiClient } from '#src/cluster/api-client.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import { listOf, member, objectOf, textOf } from '#src/cluster/hostile.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import { type IpAddress, parseAddress } from '#wg/ip.ts'
import type { Place } from '../explain.ts'
import type { NodeSnapshot } from '../snapshot.ts'
import { type PodOwners, readPodOwners } from './pod-owners.ts'

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
  return nodes.find(({ name }) => name === text)?.addresses ?? (await readPod(text, client)).addresses
}

/** Whose address it is, by what the agents go by. @throws ApiError and its like */
export async function placeAmong(
  address: IpAddress,
  label: string,
  nodes: readonly NodeRecord[],
  owners: Pick<PodOwners, 'ownerOf'>,
): Promise<Place> {
  const node = nodes.find(({ addresses }) => addresses.includes(address))
  if (node) return { address, label, node: node.name, kind: 'node' }
  const pods = await owners.ownerOf(address)
  return { address, label, node: pods, kind: pods === undefined ? 'outside' : 'pod' }
}

/**
 * What FROM or TO means and whose it is: of a pod, its Node is believed, whatever the agents have heard of it.
 * @throws ApiError and its like; Error for a pod without an address
 */
export async function placesOf(text: string, nodes: readonly NodeRecord[], client: ApiClient): Promise<Place[]> {
  const literal = addressOf(text)
  const named = nodes.find(({ name }) => name === text)
  const owners = once(() => readPodOwners(client, nodes))
  const placed = async (address: IpAddress) => await placeAmong(address, text, nodes, await owners())
  if (literal) {
    const place = await placed(literal)
    if (place.kind !== 'outside') return [place]
    const node = await nodeOfPodAddress(literal, client)
    return [node === undefined ? place : { ...place, node, kind: 'pod' }]
  }
  if (named) return named.addresses.map(address => ({ address, label: text, node: named.name, kind: 'node' }))
  const pod = await readPod(text, client)
  return await Promise.all(
    pod.addresses.map(async address => {
      const { node } = pod
      // A pod on the host's network has its node's address.
      const isHost = nodes.some(({ addresses }) => addresses.includes(address))
      return isHost || node === undefined ? await placed(address) : { address, label: text, node, kind: 'pod' }
    }),
  )
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make()
    return made
  }
}

/** A running pod of that node with an address of its own, in each family at most one. @throws ApiError and its like */
export async function anyPodOn(node: NodeRecord, client: ApiClient): Promise<IpAddress[]> {
  const pods = await podsBy(`spec.nodeName=${node.name},status.phase=Running`, client)
  const own = pods.map(pod => pod.addresses.filter(address => !node.addresses.includes(address)))
  return own.find(addresses => addresses.length > 0) ?? []
}

/** Undefined where no pod has it. */
async function nodeOfPodAddress(address: IpAddress, client: ApiClient): Promise<string | undefined> {
  const [pod] = await podsBy(`status.podIP=${address}`, client)
  return pod?.node
}

interface Pod {
  readonly addresses: readonly IpAddress[]
  readonly node: string | undefined
}

async function podsBy(fieldSelector: string, client: ApiClient): Promise<Pod[]> {
  const list = objectOf(await client.get(`/api/v1/pods?limit=50&fieldSelector=${encodeURIComponent(fieldSelector)}`))
  return listOf(member(list, 'items')).map(podOf)
}

function podOf(raw: unknown): Pod {
  const status = objectOf(member(objectOf(raw), 'status'))
  const listed = listOf(member(status, 'podIPs')).map(one => member(objectOf(one), 'ip'))
  const addresses = [...listed, member(status, 'podIP')].flatMap(ip => addressOf(textOf(ip, 64) ?? '') ?? [])
  return {
    addresses: [...new Set(addresses)],
    node: textOf(member(objectOf(member(objectOf(raw), 'spec')), 'nodeName'), 253),
  }
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

async function readPod(text: string, client: ApiClient): Promise<Pod> {
  const [namespace, name] = text.includes('/') ? text.split('/', 2) : ['default', text]
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace ?? '')}/pods/${encodeURIComponent(name ?? '')}`
  const pod = podOf(
    await client.get(path).catch((error: unknown) => {
      if (!(error instanceof ApiError && error.status === 404)) throw error
      throw new Error(
        `${text} is no node, and there is no pod ${name} in the namespace ${namespace}: name a pod as namespace/name`,
        { cause: error },
      )
    }),
  )
  if (pod.addresses.length === 0) throw new Error(`pod ${text} has no address yet: is it running?`)
  return pod
}
