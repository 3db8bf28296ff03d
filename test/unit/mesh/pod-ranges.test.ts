import { describe, expect, test } from 'vitest'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { rangesAround, StrayPods } from '#src/mesh/pod-ranges.ts'
import { type Cidr, parseCidr } from '#wg/ip.ts'
import { Table } from '#wg/table.ts'
import { name, nodeRecord, podCidr } from './records.ts'

const cidrs = (...texts: readonly string[]): readonly Cidr[] => texts.map(parseCidr)
const POOL = cidrs('10.244.0.0/16', 'fd00:244::/32')

const node = (index: number, ...texts: readonly string[]): NodeRecord =>
  nodeRecord(index, { podCidrs: cidrs(...texts) })

const tableOf = (...nodes: readonly NodeRecord[]): Table<NodeName, NodeRecord> =>
  Table.from(nodes.map(each => [each.name, each]))

describe('pods outside of the ranges that are to hold all of them', () => {
  test('are none where the ranges hold them, nor where a node has no pods', () => {
    const nodes = tableOf(nodeRecord(1), node(2, '10.244.2.0/24', 'fd00:244:2::/64'), node(3))
    expect(new StrayPods().take(nodes, POOL)).toEqual([])
  })

  test('are told by one of each family', () => {
    const nodes = tableOf(nodeRecord(1), node(2, '10.9.2.0/24', 'fd00:9::/64'), node(3, '10.9.3.0/24'))
    const strays = new StrayPods().take(nodes, POOL)
    expect(strays).toEqual([
      { node: name(2), cidr: '10.9.2.0/24' },
      { node: name(2), cidr: 'fd00:9::/64' },
    ])
  })

  test('are those of a family that no range is of, and those of a prefix that is wider than its range', () => {
    const nodes = tableOf(node(1, '10.244.0.0/15'), node(2, 'fd00:244:2::/64'))
    expect(new StrayPods().take(nodes, POOL.slice(0, 1))).toEqual([
      { node: name(1), cidr: '10.244.0.0/15' },
      { node: name(2), cidr: 'fd00:244:2::/64' },
    ])
  })

  test('are followed as nodes come, change and go, and as ranges are set', () => {
    const pods = new StrayPods()
    const nodes = tableOf(nodeRecord(1))
    expect(pods.take(nodes, POOL)).toEqual([])
    nodes.set(name(2), node(2, '10.9.2.0/24'))
    nodes.set(name(3), node(3, '10.8.3.0/24'))
    expect(pods.take(nodes, POOL)).toEqual([{ node: name(2), cidr: '10.9.2.0/24' }])
    nodes.set(name(2), nodeRecord(2))
    expect(pods.take(nodes, POOL)).toEqual([{ node: name(3), cidr: '10.8.3.0/24' }])
    expect(pods.take(nodes, [...POOL, ...cidrs('10.8.0.0/16')])).toEqual([])
    expect(pods.take(nodes, cidrs('10.8.0.0/16'))).toEqual([{ node: name(1), cidr: podCidr(1) }])
    for (const index of [1, 2]) nodes.delete(name(index))
    expect(pods.take(nodes, cidrs('10.8.0.0/16'))).toEqual([])
  })
})

describe('what is around the pods of all nodes', () => {
  test('is the smallest prefix of each family', () => {
    const nodes = [node(1, '10.244.1.0/24', 'fd00:244:1::/64'), node(2, '10.244.6.0/24', 'fd00:244:2::/64')]
    expect(rangesAround(nodes)).toEqual(['10.244.0.0/21', 'fd00:244::/46'])
    expect(rangesAround(nodes.slice(0, 1))).toEqual(['10.244.1.0/24', 'fd00:244:1::/64'])
  })

  test('is not told where it is nothing that pods alone have, or where there are none', () => {
    expect(rangesAround([node(1, '10.244.1.0/24'), node(2, '192.168.2.0/24')])).toEqual([])
    expect(rangesAround([node(1)])).toEqual([])
  })
})
