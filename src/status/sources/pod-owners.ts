import type { ApiClient } from '#src/cluster/api-client.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import { projectFelixConfiguration, resolveSettings } from '#src/cluster/felix-configuration.ts'
import { messageOf } from '#src/cluster/hostile.ts'
import { projectIpamBlock } from '#src/cluster/ipam-block.ts'
import { projectPodveilConfiguration, resolvePodveilSettings } from '#src/cluster/podveil-configuration.ts'
import { projectWorkload, WORKLOAD_SELECTOR } from '#src/cluster/workload.ts'
import { CidrOwners, type Claimant } from '#src/mesh/cidr-owners.ts'
import { podCidrClaimant } from '#src/mesh/claims.ts'
import { blockClaimant } from '#src/mesh/ipam-block.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { chooseRouteSource, type RouteSource } from '#src/mesh/route-source.ts'
import { workloadClaimant } from '#src/mesh/workload.ts'
import { few } from '#wg/few.ts'
import { familyOf, hostCidr, type IpAddress } from '#wg/ip.ts'

const FELIX = '/apis/crd.projectcalico.org/v1/felixconfigurations/default'
const PODVEIL = '/apis/podveil.io/v1alpha1/podveilconfigurations/default'
const BLOCKS = '/apis/crd.projectcalico.org/v1/ipamblocks'
const PODS = '/api/v1/pods'

/** Whose pods have which addresses, by what the agents go by. */
export interface PodOwners {
  readonly source: RouteSource
  /** What could not be read, and so was left out, a sentence each. */
  readonly doubts: readonly string[]
  /** @returns undefined where no node has it @throws ApiError and its like */
  ownerOf(address: IpAddress): Promise<NodeName | undefined>
}

/**
 * As an agent without a configuration of its own chooses, and with its verdict where two claim the same. Neither `node.<name>`
 * nor the agents' environment is looked at.
 * @throws ApiError and its like
 */
export async function readPodOwners(client: ApiClient, nodes: readonly NodeRecord[]): Promise<PodOwners> {
  const doubts: string[] = []
  const tell = (what: string) => (error: unknown) => {
    if (!(error instanceof ApiError) || ![401, 403, 404].includes(error.status)) throw error
    if (error.status !== 404) doubts.push(`${what} could not be read, and may say otherwise: ${messageOf(error)}`)
    return undefined
  }
  const [felix, podveil, blocks] = await Promise.all([
    client.get(FELIX).catch(tell('FelixConfiguration default')),
    client.get(PODVEIL).catch(tell('PodveilConfiguration default')),
    readAll(client, BLOCKS, raw => usable(() => projectIpamBlock(raw))).catch(tell('IPAM blocks of Calico')),
  ])
  const layer = projectFelixConfiguration(felix)
  const podveilLayer = projectPodveilConfiguration(podveil)
  const source = chooseRouteSource({
    asked:
      resolvePodveilSettings(podveilLayer ? [podveilLayer] : []).settings.routeSource ??
      resolveSettings(layer ? [layer] : []).settings.routeSource,
    hasBlocks: blocks?.some(({ affinity, elsewhere }) => affinity !== undefined || elsewhere.size > 0) ?? false,
    hasPodCidrs: nodes.some(({ podCidrs }) => podCidrs.length > 0),
  })
  if (source === 'PodCIDR') return { source, doubts, ownerOf: lookIn(nodes.map(podCidrClaimant), []) }
  if (source === 'CalicoIPAM') return { source, doubts, ownerOf: lookIn((blocks ?? []).map(blockClaimant), nodes) }
  let all: Promise<readonly Claimant[]> | undefined
  const ownerOf = async (address: IpAddress) => {
    const first = await readPods(client, `${WORKLOAD_SELECTOR},status.podIP=${address}`)
    if (first.length > 0) return await lookIn(first, nodes)(address)
    // A server finds Pods by the first of their addresses alone.
    all ??= readPods(client, WORKLOAD_SELECTOR)
    return await lookIn(await all, nodes)(address)
  }
  return { source, doubts, ownerOf }
}

/** @param reserved nodes whose own addresses no pod has */
function lookIn(claimants: readonly Claimant[], reserved: readonly NodeRecord[]): PodOwners['ownerOf'] {
  const owners = new CidrOwners()
  for (const { name, addresses } of reserved) owners.reserve(name, few(addresses.map(hostCidr)))
  owners.replace(claimants)
  return async address => owners.owner(familyOf(address)).longest(address)?.[1]
}

const readPods = async (client: ApiClient, fieldSelector: string): Promise<Claimant[]> =>
  (await readAll(client, PODS, raw => usable(() => projectWorkload(raw)), fieldSelector)).map(workloadClaimant)

async function readAll<T>(
  client: ApiClient,
  path: string,
  project: (raw: unknown) => T | undefined,
  fieldSelector?: string,
): Promise<T[]> {
  const all: T[] = []
  for await (const { items } of client.list(path, { query: { fieldSelector } }))
    for (const raw of items) {
      const item = project(raw)
      if (item !== undefined) all.push(item)
    }
  return all
}

/** An agent passes over what it cannot use. */
function usable<T>(project: () => T | undefined): T | undefined {
  try {
    return project()
  } catch {
    return undefined
  }
}
