import { setImmediate as turn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { array, assert, asyncProperty, constantFrom, nat, record } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NodeFeed } from '#src/agent/node-feed.ts'
import { annotations, SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'
import { until } from '../cluster/support/until.ts'
import { name, podCidr, publicKey } from '../mesh/records.ts'
import { MemoryApi } from './support/memory-api.ts'

const NODES = '/api/v1/nodes'

interface NodeParts {
  /** Number of its key. */
  readonly key?: number
  readonly address?: string
  readonly uid?: string
  /** What its annotations say of its pod CIDRs and address; undefined where its agent says nothing. */
  readonly says?: { readonly podCidr?: string; readonly address?: string } | undefined
}

/** A Node as the API has it; one that describes itself does so truly unless it is told otherwise. */
function nodeObject(index: number, { key = index, address = `10.200.0.${index}`, uid = '', says }: NodeParts = {}) {
  const description = says && {
    [annotations.addresses]: says.address ?? address,
    [annotations.podCidrs]: says.podCidr ?? podCidr(index),
  }
  return {
    metadata: {
      uid: `uid-${index}${uid}`,
      labels: { 'kubernetes.io/os': 'linux', ...(says && { [SELF_DESCRIBED]: 'true' }) },
      annotations: { [annotations.publicKey[4]]: publicKey(key), ...description },
    },
    spec: { podCIDRs: [podCidr(index)] },
    status: { addresses: [{ type: 'InternalIP', address }] },
  }
}

interface Following extends AsyncDisposable {
  readonly api: MemoryApi
  readonly feed: NodeFeed
  readonly lines: readonly string[]
  /** What its handler was told. */
  readonly table: Map<NodeName, NodeRecord>
  /** How often it was told anything. */
  told: number
  put(index: number, parts?: NodeParts): void
}

/** Nodes 1 to 4, of which we are the first. @param described how many of them describe themselves */
async function follow(described: number): Promise<Following> {
  const api = new MemoryApi()
  api.serve(NODES)
  const put = (index: number, parts?: NodeParts) => api.put(NODES, name(index), nodeObject(index, parts))
  for (const index of [1, 2, 3, 4]) put(index, index <= described ? { says: {} } : {})
  const logger = recordingLogger()
  const table = new Map<NodeName, NodeRecord>()
  const it = { api, lines: logger.lines, table, told: 0, put }
  const handler = {
    replaced: (nodes: Iterable<NodeRecord>) => {
      table.clear()
      for (const node of nodes) table.set(node.name, node)
    },
    put: (node: NodeRecord) => table.set(node.name, node),
    deleted: (gone: NodeName) => table.delete(gone),
    changed: () => it.told++,
  }
  // What is asked for is read as soon as it ever is.
  const feed = new NodeFeed(api, name(1), logger, handler, () => 0)
  feed.start()
  await until('the Nodes', () => feed.synced)
  return Object.assign(it, { feed, [Symbol.asyncDispose]: () => feed.stop() })
}

/** All others describe themselves, and their metadata is watched. */
async function followMetadata(described = 4): Promise<Following> {
  const it = await follow(described)
  await until('both watches', () => it.api.watchers(NODES) === 2 && it.api.forms(NODES).length === 3)
  return it
}

const addressOf = (it: Following, index: number) => it.table.get(name(index))?.addresses[0]
const keyOf = (it: Following, index: number) => it.table.get(name(index))?.announced[4]?.publicKey

describe('Nodes', () => {
  test('are watched whole while fewer than half of them describe themselves', async () => {
    await using it = await follow(1)
    it.put(2, { address: '10.200.0.22' })
    await until('the address', () => addressOf(it, 2) === '10.200.0.22')
    expect(it.api.forms(NODES)).toEqual(['whole'])
    // Control: with one more it is half of them.
    it.put(3, { says: {} })
    await until('both watches', () => it.api.forms(NODES).length === 3)
    expect(it.api.forms(NODES).toSorted()).toEqual(['metadata', 'whole', 'whole'])
  })

  test('are read whole once, all of them, and by nobody asked for one by one', async () => {
    await using it = await followMetadata()
    expect([...it.table.keys()]).toEqual([name(2), name(3), name(4)])
    expect([2, 3, 4].map(index => addressOf(it, index))).toEqual(['10.200.0.2', '10.200.0.3', '10.200.0.4'])
    expect(it.told).toBe(1)
    expect(it.api.gets).toEqual([])
  })

  test('are watched by metadata alone where all of them describe themselves', async () => {
    await using it = await followMetadata()
    const before = it.feed.reflectors.undescribednodes?.events
    it.put(2, { key: 7, says: {} })
    await until('the key', () => keyOf(it, 2) === publicKey(7))
    expect(it.table.get(name(2))).toMatchObject({ addresses: ['10.200.0.2'], podCidrs: [podCidr(2)] })
    expect(it.feed.reflectors.undescribednodes?.events).toBe(before)
    expect(it.api.gets).toEqual([])
  })
})

describe('a node that does not describe itself', () => {
  test('is heard of whole: what its kubelet writes counts at once', async () => {
    await using it = await followMetadata(3)
    it.put(4, { address: '10.200.0.44', key: 8 })
    await until('the address', () => addressOf(it, 4) === '10.200.0.44' && keyOf(it, 4) === publicKey(8))
    expect(it.api.gets).toEqual([])
  })

  test('joins when it is made, and stays as it is when it begins to describe itself', async () => {
    await using it = await followMetadata()
    it.put(5)
    await until('the node', () => addressOf(it, 5) === '10.200.0.5')
    const told = it.told
    it.put(5, { says: {} })
    it.put(5, { says: {}, key: 6 })
    await until('the key', () => keyOf(it, 5) === publicKey(6))
    expect(it.told).toBe(told + 1)
    expect(it.api.gets).toEqual([])
  })

  test('is heard of whole again when it has described itself before', async () => {
    await using it = await followMetadata()
    it.put(4, {})
    it.put(4, { address: '10.200.0.44' })
    await until('the address', () => addressOf(it, 4) === '10.200.0.44')
    expect(it.api.gets).toEqual([])
  })
})

describe('a node that describes itself', () => {
  test('is not believed what it does not say itself: it is read, and its word counts', async () => {
    await using it = await followMetadata()
    it.put(2, { key: 7, says: { podCidr: podCidr(3), address: '10.200.0.3' } })
    await until('the look', () => it.lines.some(line => line.includes('whose word counts')))
    expect(it.api.gets).toEqual([`${NODES}/${name(2)}`])
    expect(it.table.get(name(2))).toMatchObject({ podCidrs: [podCidr(2)], addresses: ['10.200.0.2'] })
    expect(keyOf(it, 2)).toBe(publicKey(7))
    // Control: what it says itself is taken.
    it.put(2, { says: {}, address: '10.200.0.22' })
    await until('the address', () => addressOf(it, 2) === '10.200.0.22')
  })

  test('is told of only once, however often it is read', async () => {
    await using it = await followMetadata()
    it.put(2, { says: { podCidr: podCidr(3) } })
    await until('the look', () => it.api.gets.length === 1)
    it.put(2, { says: { podCidr: podCidr(4) } })
    await until('the second look', () => it.api.gets.length === 2)
    await until('the line', () => it.lines.some(line => line.includes('whose word counts')))
    expect(it.lines.filter(line => line.startsWith('warn'))).toHaveLength(1)
  })

  test('and was never seen otherwise is read before it counts', async () => {
    await using it = await followMetadata()
    it.put(5, { says: {} })
    await until('the node', () => it.table.has(name(5)))
    expect(addressOf(it, 5)).toBe('10.200.0.5')
    expect(it.api.gets).toEqual([`${NODES}/${name(5)}`])
  })

  test('and has taken the place of another of its name has nothing of that one', async () => {
    await using it = await followMetadata()
    it.api.delete(NODES, name(2))
    await until('the end', () => !it.table.has(name(2)))
    it.put(2, { uid: 'b', says: { address: '10.200.0.22' } })
    await until('the look', () => it.lines.some(line => line.includes('whose word counts')))
    expect(addressOf(it, 2)).toBe('10.200.0.2')
    it.put(2, { uid: 'c', address: '10.200.0.23', says: {} })
    await until('the address', () => addressOf(it, 2) === '10.200.0.23')
  })

  test('goes when it is deleted, whatever was asked of it', async () => {
    await using it = await followMetadata()
    it.put(2, { says: { podCidr: podCidr(3) } })
    it.api.delete(NODES, name(2))
    await until('the end', () => !it.table.has(name(2)))
    it.put(5)
    await until('the next node', () => it.table.has(name(5)))
    expect(it.table.has(name(2))).toBe(false)
  })
})

test('whatever happens to Nodes, and however late either watch tells of it, in the end each is known as it is', async () => {
  const step = record({
    index: nat({ max: 3 }).map(index => index + 2),
    does: constantFrom('describes itself', 'says nothing', 'lies', 'is replaced', 'goes'),
    address: nat({ max: 2 }).map(host => `10.200.1.${host + 1}`),
    pause: nat({ max: 2 }),
  })
  await assert(
    asyncProperty(array(step, { maxLength: 25 }), nat({ max: 4 }), async (steps, described) => {
      await using it = await follow(described)
      let events = 0
      it.api.lag = async () => {
        for (let turns = (events++ * 7) % 4; turns > 0; turns--) await turn()
      }
      let uid = 0
      const uids = new Map<number, string>()
      for (const { index, does, address, pause } of steps) {
        if (does === 'goes' || does === 'is replaced') {
          it.api.delete(NODES, name(index))
          uids.set(index, `-${++uid}`)
        }
        const whole = { address, uid: uids.get(index) ?? '', key: 10 + ++uid }
        if (does === 'describes itself' || does === 'is replaced') it.put(index, { ...whole, says: {} })
        else if (does === 'says nothing') it.put(index, whole)
        else if (does === 'lies') it.put(index, { ...whole, says: { podCidr: podCidr(9), address: '10.200.9.9' } })
        for (let turns = pause; turns > 0; turns--) await turn()
      }
      const others = [...it.api.objects(NODES)].filter(([other]) => other !== name(1))
      const wanted = new Map(others.map(([other, raw]) => [other, said(projectNode(raw))]))
      const isSo = () => isDeepStrictEqual(new Map([...it.table].map(([other, node]) => [other, said(node)])), wanted)
      await until('all to be known as they are', isSo)
    }),
    { numRuns: 200 },
  )
})

const said = (node: NodeRecord | undefined) => [
  node?.uid,
  node?.addresses,
  node?.podCidrs,
  node?.announced[4]?.publicKey,
]
