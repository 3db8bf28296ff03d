import { setImmediate as turn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { array, assert, asyncProperty, constantFrom, nat, record } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NodeFeed } from '#src/agent/node-feed.ts'
import { annotations, SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { hastyClock } from '../cluster/support/clocks.ts'
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
  /** Each record that it was told, in order, and each name of which it was told that it is gone. */
  readonly takes: readonly NodeRecord[]
  readonly goes: readonly NodeName[]
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
  const it = { api, lines: logger.lines, table, takes: [] as NodeRecord[], goes: [] as NodeName[], told: 0, put }
  const take = (node: NodeRecord) => {
    table.set(node.name, node)
    it.takes.push(node)
  }
  const handler = {
    replaced: (nodes: Iterable<NodeRecord>) => {
      table.clear()
      for (const node of nodes) take(node)
    },
    put: take,
    deleted: (gone: NodeName) => {
      table.delete(gone)
      it.goes.push(gone)
    },
    changed: () => it.told++,
  }
  const feed = new NodeFeed(api, name(1), logger, handler, { clock: hastyClock })
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
    expect(it.feed.reflectors).toMatchObject({ nodes: { lists: 1 }, undescribednodes: { lists: 0 } })
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

  test('is told of with what of it cannot be used', async () => {
    await using it = await followMetadata(3)
    it.put(4, { address: '127.0.0.1' })
    await until('the address', () => it.table.get(name(4))?.faults.some(fault => fault.includes('127.0.0.1')) === true)
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
    expect(new Set(it.api.gets)).toEqual(new Set([`${NODES}/${name(2)}`]))
    expect(keyOf(it, 2)).toBe(publicKey(7))
    for (const node of it.takes.filter(({ name: one }) => one === name(2)))
      expect(node).toMatchObject({ podCidrs: [podCidr(2)], addresses: ['10.200.0.2'] })
    // Control: what it says itself is taken.
    it.put(2, { says: {}, address: '10.200.0.22' })
    await until('the address', () => addressOf(it, 2) === '10.200.0.22')
  })

  test('is told of once, when two looks have shown it, and again when it has said the same in between', async () => {
    await using it = await followMetadata()
    const warnings = () => it.lines.filter(line => line.startsWith('warn')).length
    for (const times of [1, 2]) {
      it.put(2, { says: { podCidr: podCidr(3) } })
      await until('the line', () => warnings() === times)
      it.put(2, { says: { podCidr: podCidr(4) } })
      const { length } = it.api.gets
      await until('more looks', () => it.api.gets.length > length + 1)
      expect(warnings()).toBe(times)
      it.put(2, { says: {}, key: times + 20 })
      await until('the truth', () => keyOf(it, 2) === publicKey(times + 20))
    }
    it.put(3, { says: { podCidr: podCidr(4) } })
    it.put(3, { says: {}, key: 30 })
    await until('the truth', () => keyOf(it, 3) === publicKey(30))
    expect(warnings()).toBe(2)
  })

  test('is read again now and then for as long as it says something else, and its word taken', async () => {
    await using it = await followMetadata()
    it.put(2, { says: { address: '10.200.9.9' } })
    await until('the line', () => it.lines.some(line => line.includes('whose word counts')))
    it.put(2, { says: { address: '10.200.9.9' }, address: '10.200.0.22' })
    await until('the address', () => addressOf(it, 2) === '10.200.0.22')
  })

  test('costs no more looks, however often it says another thing', async () => {
    await using it = await followMetadata()
    const began = hastyClock.now()
    for (let times = 0; times < 200; times++) {
      it.put(2, { says: { address: `10.200.9.${times}` } })
      await turn()
    }
    const seconds = (hastyClock.now() - began) / 1_000
    expect(it.api.gets.length).toBeLessThanOrEqual(seconds + 1)
  })

  test('and was never seen otherwise is read before it counts', async () => {
    await using it = await followMetadata()
    it.put(5, { says: {} })
    await until('the node', () => it.table.has(name(5)))
    expect(addressOf(it, 5)).toBe('10.200.0.5')
    expect(it.api.gets).toEqual([`${NODES}/${name(5)}`])
  })

  test('and has taken the place of another of its name has nothing of that one, also where nobody heard of the end of it', async () => {
    await using it = await followMetadata()
    it.api.delete(NODES, name(2))
    it.put(2, { uid: 'b', address: '10.200.0.22', says: { address: '10.200.0.2' } })
    await until('the line', () => it.lines.some(line => line.includes('whose word counts')))
    expect(addressOf(it, 2)).toBe('10.200.0.22')
    expect(it.takes.filter(({ uid }) => uid === 'uid-2b').map(({ addresses }) => addresses[0])).not.toContain(
      '10.200.0.2',
    )
  })

  test('goes when it is deleted, whatever was asked of it, and is not asked for any more', async () => {
    await using it = await followMetadata()
    it.put(2, { says: { podCidr: podCidr(3) } })
    await until('the line', () => it.lines.some(line => line.includes('whose word counts')))
    it.api.delete(NODES, name(2))
    await until('the end', () => !it.table.has(name(2)))
    const { length } = it.api.gets
    it.put(3, { says: { podCidr: podCidr(4) } })
    await until('another', () => it.api.gets.filter(path => path === `${NODES}/${name(3)}`).length > 4)
    expect(it.api.gets.slice(length)).not.toContain(`${NODES}/${name(2)}`)
    expect(it.table.has(name(2))).toBe(false)
  })
})

describe('where the API server has forgotten what changed', () => {
  test('Nodes are read whole once more, and what was made anew meanwhile is in its place at once', async () => {
    await using it = await followMetadata()
    const events = it.feed.reflectors.nodes?.lists
    it.api.expire(NODES)
    it.api.delete(NODES, name(2))
    it.api.delete(NODES, name(3))
    it.put(2, { uid: 'b', address: '10.200.0.22', says: {} })
    it.put(5, { says: {} })
    await until('the list', () => it.feed.reflectors.nodes?.lists !== events && it.table.has(name(5)))
    expect([...it.table.keys()].toSorted()).toEqual([name(2), name(4), name(5)])
    expect(addressOf(it, 2)).toBe('10.200.0.22')
    expect(it.api.gets).toEqual([])
    // And both watches go on from there.
    await until('both watches', () => it.api.watchers(NODES) === 2)
    it.put(6)
    it.put(4, { key: 8, says: {} })
    await until('the changes', () => it.table.has(name(6)) && keyOf(it, 4) === publicKey(8))
  })
})

describe('a whole Node', () => {
  test('is heard of after the API server has forgotten what changed of those that are watched whole, and of no other', async () => {
    await using it = await followMetadata(3)
    it.put(4, { key: 5 })
    await until('the key', () => keyOf(it, 4) === publicKey(5))
    it.api.expire(NODES, true)
    it.put(4, { key: 6, address: '10.200.0.44' })
    await until('the address', () => addressOf(it, 4) === '10.200.0.44')
    expect(it.feed.reflectors).toMatchObject({ nodes: { lists: 1 }, undescribednodes: { lists: 1 } })
  })

  test('is not believed by its annotations, whatever it leaves out', async () => {
    await using it = await followMetadata()
    const { spec: _, ...bare } = nodeObject(5, { says: { podCidr: podCidr(3) } })
    it.api.put(NODES, name(5), bare)
    await until('the node', () => it.table.has(name(5)))
    expect(it.table.get(name(5))?.podCidrs).toEqual([])
  })

  test('of which the watch tells late does not undo what was seen since', async () => {
    await using it = await followMetadata()
    const open: (() => void)[] = []
    it.api.lag = selected => (selected ? new Promise(resolve => open.push(resolve)) : Promise.resolve())
    it.put(5, { address: '10.200.0.55' })
    it.put(5, { says: {}, address: '10.200.0.66' })
    await until('the node', () => addressOf(it, 5) === '10.200.0.66')
    it.api.lag = undefined
    for (const resolve of open) resolve()
    it.put(6)
    await until('what comes after', () => it.table.has(name(6)))
    expect(it.takes.filter(({ name: one }) => one === name(5)).map(({ addresses }) => addresses[0])).toEqual([
      '10.200.0.66',
    ])
  })
})

test('whatever happens to Nodes, and however late either watch tells of it, in the end each is known as it is', async () => {
  const step = record({
    index: nat({ max: 3 }).map(index => index + 2),
    does: constantFrom('describes itself', 'says nothing', 'lies', 'is replaced', 'goes', 'is forgotten'),
    address: nat({ max: 2 }).map(host => `10.200.1.${host + 1}`),
    pause: nat({ max: 2 }),
  })
  await assert(
    asyncProperty(
      array(step, { maxLength: 25 }),
      nat({ max: 4 }),
      constantFrom(true, false),
      async (steps, described, slow) => {
        await using it = await follow(described)
        let events = 0
        it.api.lag = async selected => {
          const turns = ((events++ * 7) % 4) + (selected === slow ? 4 : 0)
          for (let done = 0; done < turns; done++) await turn()
        }
        let uid = 0
        const uids = new Map<number, string>()
        /** What each Node ever was. */
        const was = new Set([1, 2, 3, 4].map(index => `uid-${index} 10.200.0.${index}`))
        for (const { index, does, address, pause } of steps) {
          if (does === 'is forgotten') it.api.expire(NODES)
          if (does === 'goes' || does === 'is replaced') {
            it.api.delete(NODES, name(index))
            uids.set(index, `-${++uid}`)
          }
          const whole = { address, uid: uids.get(index) ?? '', key: 10 + ++uid }
          if (does !== 'goes' && does !== 'is forgotten') was.add(`uid-${index}${whole.uid} ${address}`)
          if (does === 'describes itself' || does === 'is replaced') it.put(index, { ...whole, says: {} })
          else if (does === 'says nothing') it.put(index, whole)
          else if (does === 'lies') it.put(index, { ...whole, says: { podCidr: podCidr(9), address: '10.200.9.9' } })
          for (let turns = pause; turns > 0; turns--) await turn()
        }
        const others = [...it.api.objects(NODES)].filter(([other]) => other !== name(1))
        const wanted = new Map(others.map(([other, raw]) => [other, said(projectNode(raw))]))
        const isSo = () => isDeepStrictEqual(new Map([...it.table].map(([other, node]) => [other, said(node)])), wanted)
        await until('all to be known as they are', isSo, 15_000)
        for (const { uid: one, addresses, podCidrs } of it.takes) {
          expect(was).toContain(`${one} ${addresses[0]}`)
          expect(podCidrs).not.toContain(podCidr(9))
        }
      },
    ),
    { numRuns: 50 },
  )
})

const said = (node: NodeRecord | undefined) => [
  node?.uid,
  node?.addresses,
  node?.podCidrs,
  node?.announced[4]?.publicKey,
]
