import { describe, expect, test } from 'vitest'
import type { ApiClient } from '#src/cluster/api-client.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { ringOf, spotOf } from '#src/verify/places.ts'
import { encryptingNode } from '../status/support/nodes.ts'

const withCidr = encryptingNode(1, 2)
const without = { ...encryptingNode(2, 2), spec: {} }
const nodes = [withCidr, without, encryptingNode(3, 2)].flatMap(raw => projectNode(raw) ?? [])

const pod = (node: string, ip: string) => ({ spec: { nodeName: node }, status: { podIPs: [{ ip }], podIP: ip } })

/** An API that knows pods by what is asked of them. */
const api = {
  get: async (path: string) => {
    const asked = decodeURIComponent(path)
    if (asked.includes('fieldSelector=spec.nodeName=node-2'))
      return { items: [pod('node-2', '10.200.0.2'), pod('node-2', '192.168.7.9')] }
    if (asked.includes('fieldSelector=status.podIP=192.168.7.9')) return { items: [pod('node-2', '192.168.7.9')] }
    if (asked.endsWith('/namespaces/shop/pods/web-0')) return pod('node-2', '192.168.7.9')
    if (asked.includes('configurations/')) throw new ApiError('GET', 404, 'NotFound', 'no')
    if (asked.includes('/namespaces/')) throw new ApiError('GET', 404, 'NotFound', 'not found')
    return { items: [] }
  },
  // biome-ignore lint/correctness/useYield: there is no Calico.
  async *list() {
    throw new ApiError('GET', 404, 'NotFound', 'no')
  },
} as unknown as ApiClient

const spot = async (text: string) => {
  const { node, places } = await spotOf(text, nodes, api, 4)
  return `${node.name} ${places.map(({ kind, address }) => `${kind} ${address}`).join(' ')}`
}

describe('what an end of verify means', () => {
  test('a node stands for its pods: the first address of its prefix, else some pod of its own', async () => {
    expect(await spot('node-1')).toBe('node-1 pod 10.244.1.1')
    expect(await spot('node-2')).toBe('node-2 pod 192.168.7.9')
  })

  test('a pod, and an address of one, are where Kubernetes says, whatever the Nodes’ pod CIDRs are', async () => {
    expect(await spot('shop/web-0')).toBe('node-2 pod 192.168.7.9')
    expect(await spot('192.168.7.9')).toBe('node-2 pod 192.168.7.9')
    expect(await spot('10.244.3.7')).toBe('node-3 pod 10.244.3.7')
  })

  test('what is of no node cannot be verified', async () => {
    await expect(spot('198.51.100.1')).rejects.toThrow('198.51.100.1 is of no node of the mesh')
  })

  test('what is neither node nor pod is told, with how a pod is named', async () => {
    await expect(spot('nod-1')).rejects.toThrow(
      'nod-1 is no node, and there is no pod nod-1 in the namespace default: name a pod as namespace/name',
    )
  })

  test('without ends it is each node with the next one', () => {
    expect(ringOf(nodes).map(pair => pair.join(' '))).toEqual(['node-1 node-2', 'node-2 node-3', 'node-3 node-1'])
    expect(ringOf(nodes.slice(0, 2)).map(pair => pair.join(' '))).toEqual(['node-1 node-2'])
  })
})
