import { describe, expect, test } from 'vitest'
import type { ApiClient, ListOptions } from '#src/cluster/api-client.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { placeAmong } from '#src/status/sources/ends.ts'
import { readPodOwners } from '#src/status/sources/pod-owners.ts'
import { parseAddress } from '#wg/ip.ts'
import { encryptingNode } from './support/nodes.ts'

/** Their pod CIDRs are 10.244.1.0/24 and so on, whatever else says where pods are. */
const nodes = [1, 2, 3].flatMap(index => projectNode(encryptingNode(index, 2)) ?? [])
const without = [1, 2, 3].flatMap(index => projectNode({ ...encryptingNode(index, 2), spec: {} }) ?? [])

const block = (cidr: string, affinity: string | undefined, lent: Record<number, string> = {}) => ({
  metadata: { name: cidr.replaceAll(/[./:]/g, '-'), creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: {
    cidr,
    ...(affinity && { affinity: `host:${affinity}` }),
    allocations: Array.from({ length: 64 }, (_, i) => (i in lent ? Object.keys(lent).indexOf(String(i)) : null)),
    attributes: Object.values(lent).map(node => ({ secondary: { node } })),
  },
})

const pod = (name: string, node: string, ips: readonly string[], extra: object = {}) => ({
  metadata: { name, namespace: 'shop', creationTimestamp: '2026-01-01T00:00:00Z', ...extra },
  spec: { nodeName: node },
  status: { phase: 'Running', podIP: ips[0], podIPs: ips.map(ip => ({ ip })) },
})

interface Cluster {
  readonly felix?: string
  readonly podveil?: string
  readonly blocks?: readonly object[] | 'forbidden'
  readonly pods?: readonly ReturnType<typeof pod>[]
}

const refuse = (status: number): never => {
  throw new ApiError('GET', status, 'Refused', 'no')
}

/** As an API server answers, which finds Pods by the first of their addresses alone. */
function api({ felix, podveil, blocks, pods = [] }: Cluster): ApiClient {
  return {
    get: async (path: string) => {
      const routeSource = path.includes('felix') ? felix : podveil
      return routeSource ? { metadata: { name: 'default' }, spec: { routeSource } } : refuse(404)
    },
    async *list(path: string, { query }: ListOptions) {
      if (path.endsWith('ipamblocks')) yield { items: Array.isArray(blocks) ? blocks : refuse(blocks ? 403 : 404) }
      const asked = /status\.podIP=(.*)$/.exec(String(query?.fieldSelector))?.[1]
      if (path.endsWith('pods'))
        yield { items: asked === undefined ? pods : pods.filter(({ status }) => status.podIP === asked) }
    },
  } as unknown as ApiClient
}

const whose = async (cluster: Cluster, address: string, among = nodes) => {
  const { node, kind } = await placeAmong(
    parseAddress(address),
    address,
    among,
    await readPodOwners(api(cluster), among),
  )
  return `${kind} ${node}`
}

describe('whose an address is, from anywhere, is what the agents go by:', () => {
  test('the Nodes’ pod CIDRs, where the cluster has nothing else', async () => {
    expect(await whose({}, '10.244.2.9')).toBe('pod node-2')
    expect(await whose({}, '10.200.0.3')).toBe('node node-3')
    expect(await whose({}, '192.0.2.1')).toBe('outside undefined')
  })

  test('the blocks of Calico’s IPAM, and not the pod CIDRs beside them; a borrowed address is of who borrowed it', async () => {
    const blocks = [
      block('10.65.0.0/26', 'node-3', { 7: 'node-1' }),
      block('10.65.0.64/26', undefined, { 1: 'node-2' }),
    ]
    expect(await whose({ blocks }, '10.65.0.9')).toBe('pod node-3')
    expect(await whose({ blocks }, '10.65.0.7')).toBe('pod node-1')
    expect(await whose({ blocks }, '10.65.0.65')).toBe('pod node-2')
    expect(await whose({ blocks }, '10.65.0.66')).toBe('outside undefined')
    expect(await whose({ blocks }, '10.244.2.9')).toBe('outside undefined')
  })

  test('the Pods, where somebody says so or nothing else is there; every address of each', async () => {
    const pods = [pod('a', 'node-2', ['10.9.0.5', 'fd00:9::5']), pod('b', 'node-3', ['10.9.0.6'])]
    for (const cluster of [
      { pods, felix: 'WorkloadIPs' },
      { pods, podveil: 'WorkloadIPs', felix: 'CalicoIPAM' },
    ]) {
      expect(await whose(cluster, '10.9.0.5')).toBe('pod node-2')
      expect(await whose(cluster, 'fd00:9::5')).toBe('pod node-2')
      expect(await whose(cluster, '10.9.0.6')).toBe('pod node-3')
      expect(await whose(cluster, '10.244.2.9')).toBe('outside undefined')
    }
    expect(await whose({ pods }, '10.9.0.6', without)).toBe('pod node-3')
  })

  test('of two Pods with one address the one that is not leaving', async () => {
    const pods = [
      pod('old', 'node-1', ['10.9.0.5'], { deletionTimestamp: '2026-02-01T00:00:00Z' }),
      pod('new', 'node-2', ['10.9.0.5'], { creationTimestamp: '2026-03-01T00:00:00Z' }),
    ]
    expect(await whose({ pods }, '10.9.0.5', without)).toBe('pod node-2')
  })

  test('the pod CIDRs, with a doubt, where the blocks may not be read', async () => {
    const { source, doubts } = await readPodOwners(api({ blocks: 'forbidden' }), nodes)
    expect(source).toBe('PodCIDR')
    expect(doubts).toEqual([expect.stringMatching(/^IPAM blocks of Calico could not be read, and may say otherwise: /)])
  })
})
