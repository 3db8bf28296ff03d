import { describe, expect, test, vi } from 'vitest'
import { RouteFeed } from '#src/agent/route-feed.ts'
import { WORKLOAD_SELECTOR } from '#src/cluster/workload.ts'
import { DEVICE_POOLS } from '#src/mesh/device-address.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { type Cidr, cidrContains, hostCidr, parseAddress } from '#wg/ip.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'
import { until } from '../cluster/support/until.ts'
import { announcement, name, nodeRecord, podCidr } from '../mesh/records.ts'
import { MemoryApi } from './support/memory-api.ts'

const BLOCKS = '/apis/crd.projectcalico.org/v1/ipamblocks'
const POOLS = '/apis/crd.projectcalico.org/v1/ippools'
const PODS = '/api/v1/pods'

interface Following extends AsyncDisposable {
  readonly api: MemoryApi
  readonly feed: RouteFeed
  readonly lines: readonly string[]
  /** Prefixes of a node as the mesh takes them. */
  of(index: number): readonly Cidr[]
}

/** Felix of node 3 has a port of its own. */
const felixPort = (node: NodeName) => (node === name(3) ? 51900 : 51820)

function serving(...paths: readonly string[]): MemoryApi {
  const api = new MemoryApi()
  for (const path of paths) api.serve(path)
  return api
}

/** The feed of node 1 beside nodes 2 and 3, each with a pod CIDR. */
function follow(api = serving(BLOCKS, POOLS, PODS), nodes: readonly number[] = [1, 2, 3]): Following {
  const logger = recordingLogger()
  const feed = new RouteFeed(api, name(1), logger, felixPort, () => {})
  feed.start()
  if (nodes.length > 0) feed.replaceNodes(nodes.map(index => nodeRecord(index)))
  return {
    api,
    feed,
    lines: logger.lines,
    of: index => feed.nodes.get(name(index))?.podCidrs ?? [],
    [Symbol.asyncDispose]: () => feed.stop(),
  }
}

const block = (cidr: string, affinity: string | null, allocated: Record<number, Record<string, string>> = {}) => {
  const attributes = Object.values(allocated).map(secondary => ({ handle_id: 'h', secondary }))
  const offsets = Object.keys(allocated).map(Number)
  const allocations = Array.from({ length: 64 }, (_, offset) => {
    const at = offsets.indexOf(offset)
    return at < 0 ? null : at
  })
  return { spec: { cidr, affinity, allocations, attributes, unallocated: [], strictAffinity: false } }
}

const pod = (node: string, podIPs: readonly string[], spec: object = {}, phase = 'Running') => ({
  spec: { nodeName: node, ...spec },
  status: { phase, podIP: podIPs[0], podIPs: podIPs.map(ip => ({ ip })) },
})

describe('where nobody says where pod addresses come from', () => {
  test('they are those of the Nodes’ pod CIDRs', async () => {
    await using it = follow()
    await until('the sources', () => it.feed.established)
    expect(it.feed.source).toBe('PodCIDR')
    expect(it.of(2)).toEqual([podCidr(2)])
    expect(it.api.watchers(PODS)).toBe(0)
  })

  test('they are that as well where the API server has never heard of Calico', async () => {
    await using it = follow(serving(PODS))
    await until('the sources', () => it.feed.established, 20_000)
    expect(it.of(2)).toEqual([podCidr(2)])
  })

  test('they are those of Calico’s blocks, as soon as there is one', async () => {
    await using it = follow()
    await until('the sources', () => it.feed.established)
    it.api.put(BLOCKS, '10-65-2-0-26', block('10.65.2.0/26', 'host:node-2'))
    await until('the block', () => it.feed.source === 'CalicoIPAM')
    expect(it.of(2)).toEqual(['10.65.2.0/26'])
    expect(it.of(3)).toEqual([])
    expect(it.lines).toContain('warn pod addresses come from CalicoIPAM now, and no more from PodCIDR')
  })

  test('a block of addresses for services alone does not count', async () => {
    await using it = follow()
    it.api.put(BLOCKS, '10-66-0-0-26', block('10.66.0.0/26', 'virtual:load-balancer', { 1: { type: 'lb' } }))
    await until('the sources', () => it.feed.established)
    expect(it.feed.source).toBe('PodCIDR')
  })

  test('nothing is taken for theirs before the Nodes were read, and no Pod is asked for in vain', async () => {
    await using it = follow(serving(BLOCKS, POOLS, PODS), [])
    await until('Calico’s sources', () =>
      ['ipamblocks', 'ippools'].every(source => it.feed.reflectors[source as 'ippools']?.synced),
    )
    expect(it.feed.source).toBeUndefined()
    expect(it.feed.established).toBe(false)
    expect(it.api.watchers(PODS)).toBe(0)
    it.feed.replaceNodes([nodeRecord(1), nodeRecord(2)])
    await until('the sources', () => it.feed.established)
    expect(it.feed.source).toBe('PodCIDR')
    expect(it.feed.reflectors.pods).toBeUndefined()
    expect(it.lines.join()).not.toContain('WorkloadIPs')
  })

  test('they are those of the Pods, where no Node has a pod CIDR', async () => {
    await using it = follow()
    it.api.put(PODS, 'default/web', pod('node-2', ['10.9.0.7', 'fd00:9::7']))
    it.feed.replaceNodes([1, 2].map(index => nodeRecord(index, { podCidrs: [] })))
    await until('the Pods', () => it.feed.source === 'WorkloadIPs')
    expect(it.of(2)).toEqual(['10.9.0.7/32', 'fd00:9::7/128'])
  })
})

test('Calico’s pools are waited for, as the guard would be open without them', async () => {
  const api = serving(BLOCKS, POOLS, PODS)
  const letGo = api.hold(POOLS)
  api.put(POOLS, 'default', { spec: { cidr: '10.65.0.0/16' } })
  await using it = follow(api)
  await until('the blocks', () => it.feed.source === 'PodCIDR')
  expect(it.feed.established).toBe(false)
  letGo()
  await until('the pools', () => it.feed.established)
  expect(it.feed.pools).toEqual(['10.65.0.0/16'])
})

describe('what the operator says', () => {
  test('counts for more than what there is', async () => {
    await using it = follow()
    it.feed.ask('PodCIDR', felixPort)
    it.api.put(BLOCKS, '10-65-2-0-26', block('10.65.2.0/26', 'host:node-2'))
    await until('the sources', () => it.feed.established)
    expect(it.of(2)).toEqual([podCidr(2)])
  })

  test('that was there before counts until what he wants was read whole', async () => {
    await using it = follow()
    await until('the sources', () => it.feed.established)
    it.feed.ask('WorkloadIPs', felixPort)
    expect(it.feed.source).toBe('PodCIDR')
    expect(it.feed.established).toBe(true)
    await until('the Pods', () => it.feed.source === 'WorkloadIPs')
    it.feed.ask(undefined, felixPort)
    expect(it.feed.source).toBe('PodCIDR')
    await until('the watch to end', () => it.api.watchers(PODS) === 0)
  })

  test('at the start is waited for: nothing is taken from another source meanwhile', async () => {
    await using it = follow()
    it.feed.ask('WorkloadIPs', felixPort)
    expect(it.feed.established).toBe(false)
    await until('the Pods', () => it.feed.established)
    expect(it.feed.source).toBe('WorkloadIPs')
  })
})

describe('with Calico’s IPAM', () => {
  test('a borrowed address is its node’s, and the block that it lies in stays with its own', async () => {
    await using it = follow()
    it.api.put(
      BLOCKS,
      '10-65-2-0-26',
      block('10.65.2.0/26', 'host:node-2', { 5: { node: 'node-3' }, 6: { node: 'node-2' }, 7: { pod: 'of no node' } }),
    )
    await until('the block', () => it.feed.source === 'CalicoIPAM')
    expect(it.of(2)).toEqual(['10.65.2.0/26'])
    expect(it.of(3)).toEqual(['10.65.2.5/32'])
  })

  test('of a block that is nobody’s each address is where it is used', async () => {
    await using it = follow()
    it.api.put(BLOCKS, '10-65-2-0-26', block('10.65.2.0/26', null, { 5: { node: 'node-3' }, 6: { node: 'node-2' } }))
    await until('the block', () => it.feed.source === 'CalicoIPAM')
    expect([it.of(2), it.of(3)]).toEqual([['10.65.2.6/32'], ['10.65.2.5/32']])
  })

  test('a block moves, and goes', async () => {
    await using it = follow()
    it.api.put(BLOCKS, '10-65-9-0-26', block('10.65.9.0/26', 'host:node-3'))
    it.api.put(BLOCKS, '10-65-2-0-26', block('10.65.2.0/26', 'host:node-2'))
    await until('the blocks', () => it.of(2).length === 1)
    it.api.put(BLOCKS, '10-65-2-0-26', block('10.65.2.0/26', 'host:node-3'))
    await until('the move', () => it.of(3).length === 2)
    expect(it.of(2)).toEqual([])
    const gone = block('10.65.2.0/26', 'host:node-3')
    it.api.put(BLOCKS, '10-65-2-0-26', { spec: { ...gone.spec, deleted: true } })
    await until('the end', () => it.of(3).length === 1)
  })

  test('our device has the address that Calico allocated for it', async () => {
    await using it = follow()
    const tunnel = (type: string) => ({ node: 'node-1', type })
    it.api.put(BLOCKS, '10-65-1-0-26', block('10.65.1.0/26', 'host:node-1', { 0: tunnel('ipipTunnelAddress') }))
    const device = () => it.feed.nodes.get(name(1))?.deviceAddresses?.[4]
    await until('that of another encapsulation', () => device() === '10.65.1.0')
    const both = { 0: tunnel('ipipTunnelAddress'), 9: tunnel('wireguardTunnelAddress') }
    it.api.put(BLOCKS, '10-65-1-0-26', block('10.65.1.0/26', 'host:node-1', both))
    await until('its own', () => device() === '10.65.1.9')
  })

  test('a Podveil node is believed no interface address but one of its own', async () => {
    await using it = follow()
    it.api.put(BLOCKS, '10-65-2-0-26', block('10.65.2.0/26', 'host:node-2'))
    await until('the block', () => it.feed.source === 'CalicoIPAM')
    const saying = (address: string) => {
      const interfaceAddress = parseAddress(address)
      it.feed.putNode(nodeRecord(2, { announced: { 4: announcement(2, { interfaceAddress }), 6: undefined } }))
      return it.feed.nodes.get(name(2))?.announced[4]?.interfaceAddress
    }
    expect(saying('10.65.2.1')).toBe('10.65.2.1')
    expect(saying('198.18.0.77')).toBe('198.18.0.77')
    expect(saying('10.244.2.1')).toBe('10.244.2.1')
    expect(saying('10.65.9.1')).toBeUndefined()
    expect(it.lines.join('\n')).toContain('10.65.9.1, which is outside of its own 10.65.2.0/26, 10.244.2.0/24')
  })

  test('whose prefix is another node’s is told that it has none to have an interface address in', async () => {
    await using it = follow()
    await until('the sources', () => it.feed.established)
    const interfaceAddress = parseAddress('10.244.2.1')
    it.feed.putNode(
      nodeRecord(4, { podCidrs: [podCidr(2)], announced: { 4: announcement(4, { interfaceAddress }), 6: undefined } }),
    )
    expect(it.lines).toContain(
      'warn Node node-4: announces the interface address 10.244.2.1, and has no prefix of its own',
    )
  })

  test('the pools of pods are what the guard holds closed; those of services are not', async () => {
    await using it = follow()
    it.api.put(POOLS, 'pods', { spec: { cidr: '10.65.0.0/16', disabled: true } })
    it.api.put(POOLS, 'services', { spec: { cidr: '10.66.0.0/16', allowedUses: ['LoadBalancer'] } })
    await until('the pools', () => it.feed.pools.length > 0)
    expect(it.feed.pools).toEqual(['10.65.0.0/16'])
  })
})

describe('with the Pods’ own addresses', () => {
  test('those count that have addresses of their own, from their first to their last', async () => {
    await using it = follow()
    it.feed.ask('WorkloadIPs', felixPort)
    it.api.put(PODS, 'a/starting', pod('node-2', ['10.9.0.1'], {}, 'Pending'))
    it.api.put(PODS, 'a/of-the-host', pod('node-2', ['10.200.0.2'], { hostNetwork: true }))
    it.api.put(PODS, 'a/done', pod('node-2', ['10.9.0.3'], {}, 'Succeeded'))
    it.api.put(PODS, 'a/without', pod('node-2', []))
    await until('the Pods', () => it.feed.source === 'WorkloadIPs')
    expect(it.of(2)).toEqual(['10.9.0.1/32'])
    it.api.put(PODS, 'a/starting', pod('node-2', ['10.9.0.1'], {}, 'Failed'))
    await until('its end', () => it.of(2).length === 0)
    it.api.put(PODS, 'b/new', pod('node-3', ['10.9.0.1']))
    await until('its heir', () => it.of(3).length === 1)
    it.api.delete(PODS, 'b/new')
    await until('its end', () => it.of(3).length === 0)
    expect(it.api.selectors(PODS)).toEqual(new Set([WORKLOAD_SELECTOR]))
  })

  test('an address that is used again is the new Pod’s while the old one is being deleted', async () => {
    await using it = follow()
    it.feed.ask('WorkloadIPs', felixPort)
    it.api.put(PODS, 'a/old', pod('node-2', ['10.9.0.1']))
    const later = { metadata: { creationTimestamp: '2026-02-01T00:00:00Z' } }
    it.api.put(PODS, 'a/new', { ...pod('node-3', ['10.9.0.1']), ...later })
    await until('the older', () => it.of(2).length === 1)
    expect(it.feed.owners([], 4).refused.get(name(3))).toEqual([
      '10.9.0.1/32 (pod a/new) belongs to node-2 (pod a/old)',
    ])
    const leaving = { metadata: { deletionTimestamp: '2026-03-01T00:00:00Z' } }
    it.api.put(PODS, 'a/old', { ...pod('node-2', ['10.9.0.1']), ...leaving })
    await until('the newer', () => it.of(3).length === 1)
    expect(it.of(2)).toEqual([])
  })

  test('a Pod that claims a node’s own address has it not', async () => {
    await using it = follow()
    it.feed.ask('WorkloadIPs', felixPort)
    it.api.put(PODS, 'a/thief', pod('node-2', ['10.200.0.3', '10.9.0.1']))
    await until('the Pod', () => it.of(2).length > 0)
    expect(it.of(2)).toEqual(['10.9.0.1/32'])
    it.feed.putNode(nodeRecord(3, { addresses: [parseAddress('10.9.0.1')] }))
    expect(it.of(2)).toEqual(['10.200.0.3/32'])
    it.feed.deleteNode(name(3))
    expect(it.of(2)).toEqual(['10.200.0.3/32', '10.9.0.1/32'])
  })

  test('our device has an address of the pool, and two nodes that chose alike end with two', async () => {
    await using it = follow()
    it.feed.ask('WorkloadIPs', felixPort)
    const device = () => it.feed.nodes.get(name(1))?.deviceAddresses?.[4]
    await until('an address', () => device() !== undefined)
    const chosen = device() as NonNullable<ReturnType<typeof device>>
    expect(cidrContains(DEVICE_POOLS[4], hostCidr(chosen))).toBe(true)
    const announced = { 4: announcement(1, { interfaceAddress: chosen }), 6: undefined }
    it.feed.putNode(nodeRecord(1, { announced }))
    expect(device()).toBe(chosen)
    it.feed.putNode(nodeRecord(2, { announced: { 4: announcement(2, { interfaceAddress: chosen }), 6: undefined } }))
    expect(device()).toBe(chosen)
    const elder = { createdAt: 1, announced: { 4: announcement(3, { interfaceAddress: chosen }), 6: undefined } }
    it.feed.putNode(nodeRecord(3, elder))
    expect(device()).not.toBe(chosen)
  })
})

test('the first Nodes are taken in a few at a time, with what is heard of them meanwhile, before anybody looks at them', async () => {
  await using it = follow(undefined, [])
  it.feed.ask('PodCIDR', felixPort)
  await until('the sources', () => it.feed.established)
  let time = 0
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => {
    time += 6
    return time
  })
  it.feed.replaceNodes([1, 2, 3, 4, 5, 6, 7, 8].map(index => nodeRecord(index)))
  expect(it.feed.established).toBe(false)
  it.feed.putNode(nodeRecord(8, { podCidrs: [podCidr(9)] }))
  it.feed.deleteNode(name(7))
  clock.mockRestore()
  await until('the Nodes', () => it.feed.established)
  expect([...it.feed.nodes.keys()]).toEqual([1, 2, 3, 4, 5, 6, 8].map(name))
  expect(it.of(8)).toEqual([podCidr(9)])
})

test('a Felix node is dialled where its configuration says that it listens, and a Podveil node where it says itself', async () => {
  await using it = follow()
  const felix = { hello: undefined, port: undefined }
  const announcing = (index: number, fields: object) =>
    nodeRecord(index, { announced: { 4: announcement(index, fields), 6: undefined } })
  it.feed.replaceNodes([nodeRecord(1), announcing(2, { port: 51999 }), announcing(3, felix)])
  await until('the sources', () => it.feed.established)
  expect([2, 3].map(index => it.feed.nodes.get(name(index))?.announced[4]?.port)).toEqual([51999, 51900])
})

describe('a Node with something malformed', () => {
  const malformed = (index: number, fault: string) => nodeRecord(index, { faults: [fault] })

  test('is told once, and what is malformed otherwise is told as well', async () => {
    await using it = follow()
    await until('the sources', () => it.feed.established)
    for (const fault of ['one', 'one', 'two']) it.feed.putNode(malformed(2, fault))
    expect(it.lines.filter(line => line.startsWith('warn'))).toEqual(['warn Node node-2: one', 'warn Node node-2: two'])
  })

  test('that changes all the time does not fill the log, nor keep another from being told', async () => {
    await using it = follow()
    await until('the sources', () => it.feed.established)
    for (let turn = 0; turn < 1_000; turn++) it.feed.putNode(malformed(2, `turn ${turn}`))
    it.feed.putNode(malformed(3, 'one'))
    const lines = it.lines.filter(line => line.startsWith('warn'))
    expect(lines.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, turn) => `warn Node node-2: turn ${turn}`))
    expect(lines.length).toBeLessThan(30)
    expect(lines).toContain('warn Node node-3: one')
  })
})
