import { describe, expect, test } from 'vitest'
import { PeerFeed } from '#src/agent/peer-feed.ts'
import { annotations, SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import { MESH_NODES, meshNodeSpec } from '#src/cluster/mesh-node.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'
import { until } from '../cluster/support/until.ts'
import { name, podCidr, publicKey } from '../mesh/records.ts'
import { MemoryApi } from './support/memory-api.ts'

const NODES = '/api/v1/nodes'
const ALL = [1, 2, 3]
const SLOW = 30_000
const PATIENCE = 20

/** A Node as the API has it. @param key number of its key; 0 for a node without */
const nodeObject = (index: number, key = index, address = `10.200.0.${index}`) => ({
  metadata: {
    uid: `uid-${index}`,
    annotations: key === 0 ? {} : { [annotations.publicKey[4]]: publicKey(key), [annotations.hello]: '1' },
  },
  spec: { podCIDRs: [podCidr(index)] },
  status: { addresses: [{ type: 'InternalIP', address }] },
})

interface Following extends AsyncDisposable {
  readonly api: MemoryApi
  readonly feed: PeerFeed
  readonly lines: readonly string[]
  readonly table: Map<NodeName, NodeRecord>
  /** How many nodes there were, after each change. */
  readonly sizes: readonly number[]
  /** Writes the MeshNode that the agent of this node would write of its Node. */
  agentWrites(index: number, change?: Partial<NodeRecord>): Promise<void>
  untilRead(source: string): Promise<void>
}

function follow({ definition = true } = {}): Following {
  const api = new MemoryApi()
  api.serve(NODES)
  if (definition) api.serve(MESH_NODES)
  for (const index of ALL) api.put(NODES, name(index), nodeObject(index))
  const logger = recordingLogger()
  const table = new Map<NodeName, NodeRecord>()
  const sizes: number[] = []
  const feed = new PeerFeed(
    api,
    name(1),
    logger,
    {
      own: () => {},
      replaced: nodes => {
        table.clear()
        for (const node of nodes) table.set(node.name, node)
        sizes.push(table.size)
      },
      put: node => table.set(node.name, node),
      deleted: gone => {
        table.delete(gone)
        sizes.push(table.size)
      },
      changed: () => {},
    },
    PATIENCE,
  )
  feed.start()
  return {
    api,
    feed,
    lines: logger.lines,
    table,
    sizes,
    agentWrites: async (index, change) => {
      const node = projectNode(await api.get(`${NODES}/${name(index)}`))
      if (node) api.put(MESH_NODES, name(index), { spec: meshNodeSpec({ ...node, ...change }) })
      api.gets.length = 0
    },
    untilRead: source => until(`to read ${source}`, () => feed.source === source, SLOW),
    [Symbol.asyncDispose]: () => feed.stop(),
  }
}

const announcing = (key: number): Partial<NodeRecord> => {
  const node = projectNode({ ...nodeObject(3, key), metadata: { ...nodeObject(3, key).metadata, name: 'node-3' } })
  return node ? { announced: node.announced } : {}
}

/** All agents have written, and the source is MeshNodes. */
async function followMeshNodes(): Promise<Following> {
  const it = follow()
  for (const index of ALL) await it.agentWrites(index)
  it.feed.ask('MeshNodes')
  await it.untilRead('MeshNodes')
  await until('one watch of Nodes', () => it.api.watchers(NODES) === 1)
  return it
}

const keyOf = (it: Following, index: number) => it.table.get(name(index))?.announced[4]?.publicKey

describe('the change of source', () => {
  test('there and back leaves every node as it was, at every moment, and of Nodes only our own is watched in between', async () => {
    await using it = follow()
    for (const index of ALL) await it.agentWrites(index)
    await until('the Nodes', () => it.feed.synced)
    const before = new Map(it.table)
    it.feed.ask('MeshNodes')
    await it.untilRead('MeshNodes')
    expect(new Map(it.table)).toEqual(before)
    await until('the end of the other watch', () => it.api.watchers(NODES) === 1)
    expect(it.api.selectors(NODES)).toContain('metadata.name=node-1')
    it.feed.ask('Nodes')
    await it.untilRead('Nodes')
    expect(new Map(it.table)).toEqual(before)
    await until('the end of the other watch', () => it.api.watchers(MESH_NODES) === 0)
    expect(new Set(it.sizes)).toEqual(new Set([3]))
  })

  test('waits for a node that encrypts and has no MeshNode, and says so once', async () => {
    await using it = follow()
    for (const index of [1, 2]) await it.agentWrites(index)
    it.feed.ask('MeshNodes')
    await until('the refusal', () => it.feed.refusal !== undefined)
    expect(it.feed.refusal).toContain('node-3')
    expect(it.feed.withoutMeshNode).toBe(1)
    it.api.put(NODES, 'node-2', nodeObject(2, 7))
    await until('the change', () => keyOf(it, 2) === publicKey(7))
    expect(it.feed.source).toBe('Nodes')
    expect(it.lines.filter(line => line.startsWith('warn'))).toHaveLength(1)
    for (const index of [2, 3]) await it.agentWrites(index)
    await it.untilRead('MeshNodes')
    expect(it.feed.refusal).toBeUndefined()
  })

  test('at the moment at which Nodes would go over to metadata leaves no watch of them but our own’s', async () => {
    await using it = follow()
    for (const index of ALL) await it.agentWrites(index, index === 3 ? announcing(8) : {})
    const described = (index: number, key: number) => {
      const { metadata, ...others } = nodeObject(index, key)
      return { ...others, metadata: { ...metadata, labels: { [SELF_DESCRIBED]: 'true' } } }
    }
    it.api.put(NODES, 'node-2', described(2, 2))
    it.feed.ask('MeshNodes')
    await until('the refusal', () => it.feed.refusal?.includes('node-3') === true)
    expect(it.api.forms(NODES)).toEqual(['whole', 'whole'])
    it.api.put(NODES, 'node-3', described(3, 8))
    await it.untilRead('MeshNodes')
    await until('the end of the other watch', () => it.api.watchers(NODES) === 1)
    expect(it.api.forms(NODES)).toHaveLength(2)
  })

  test('waits while a MeshNode has another key than its Node', async () => {
    await using it = follow()
    for (const index of ALL) await it.agentWrites(index)
    it.api.put(NODES, 'node-3', nodeObject(3, 8))
    it.feed.ask('MeshNodes')
    await until('the refusal', () => it.feed.refusal?.includes('node-3') === true)
    await it.agentWrites(3)
    await it.untilRead('MeshNodes')
  })

  test('does not wait for a node that encrypts nothing, which stays in the mesh as its Node says', async () => {
    await using it = follow()
    it.api.put(NODES, 'node-3', nodeObject(3, 0))
    for (const index of [1, 2]) await it.agentWrites(index)
    it.feed.ask('MeshNodes')
    await it.untilRead('MeshNodes')
    expect(it.table.get(name(3))?.podCidrs).toEqual([podCidr(3)])
    expect(it.feed.withoutMeshNode).toBe(1)
  })

  test('does not happen without the definition: one line says so, until it is there', async () => {
    await using it = follow({ definition: false })
    it.feed.ask('MeshNodes')
    await until('the refusal', () => it.feed.refusal?.includes('manifests/crds/podveil') === true, SLOW)
    expect(it.feed.source).toBe('Nodes')
    expect(it.table.size).toBe(3)
    expect(it.lines.filter(line => line.startsWith('warn'))).toHaveLength(1)
  })
})

describe('where MeshNodes are read', () => {
  test('a new key is heard of by the MeshNode alone, and nobody asks for Nodes', async () => {
    await using it = await followMeshNodes()
    it.api.put(NODES, 'node-2', nodeObject(2, 9))
    await it.agentWrites(2)
    await until('the key', () => keyOf(it, 2) === publicKey(9))
    expect(it.api.gets).toEqual([])
  })

  test('an agent is not believed what its Node does not say: the Node is read, and its word counts', async () => {
    await using it = await followMeshNodes()
    await it.agentWrites(2, { podCidrs: [podCidr(3)], createdAt: 1, addresses: [] })
    await until('the look', () => it.lines.some(line => line.includes('whose word counts')))
    expect(it.api.gets).toEqual([`${NODES}/node-2`])
    expect(it.table.get(name(2))).toMatchObject({ podCidrs: [podCidr(2)], addresses: ['10.200.0.2'] })
    // Control: what the Node does say is taken, the next time that its agent writes.
    it.api.put(NODES, 'node-2', nodeObject(2, 2, '10.200.0.22'))
    await it.agentWrites(2)
    await until('the address', () => it.table.get(name(2))?.addresses[0] === '10.200.0.22')
  })

  test('a new node joins with its MeshNode', async () => {
    await using it = await followMeshNodes()
    it.api.put(NODES, 'node-4', nodeObject(4))
    await it.agentWrites(4)
    await until('the node', () => keyOf(it, 4) === publicKey(4))
    expect(it.table.get(name(4))?.podCidrs).toEqual([podCidr(4)])
  })

  test('a node stays when only its MeshNode goes, and goes with its Node', async () => {
    await using it = await followMeshNodes()
    it.api.delete(MESH_NODES, 'node-2')
    await until('the look', () => it.feed.withoutMeshNode === 1)
    expect(keyOf(it, 2)).toBe(publicKey(2))
    it.api.delete(NODES, 'node-3')
    it.api.delete(MESH_NODES, 'node-3')
    await until('the end', () => !it.table.has(name(3)))
    expect(keyOf(it, 2)).toBe(publicKey(2))
  })

  test('a MeshNode without a Node is nobody', async () => {
    await using it = await followMeshNodes()
    const node = projectNode({ ...nodeObject(9), metadata: { name: 'node-9', uid: 'uid-9' } })
    if (!node) throw new Error('no node')
    it.api.put(MESH_NODES, 'node-9', { spec: meshNodeSpec(node) })
    await until('the look', () => it.api.gets.includes(`${NODES}/node-9`))
    expect(it.table.has('node-9' as NodeName)).toBe(false)
  })

  test('a definition that is removed, and all MeshNodes with it, takes nobody away: Nodes are read again', async () => {
    await using it = await followMeshNodes()
    it.api.withdraw(MESH_NODES)
    await it.untilRead('Nodes')
    expect(it.table.size).toBe(3)
    expect(Math.min(...it.sizes)).toBe(3)
    expect(it.feed.refusal).toContain('manifests/crds/podveil')
  })

  test('our own Node is followed itself', async () => {
    await using it = await followMeshNodes()
    it.api.put(NODES, 'node-1', nodeObject(1, 6))
    await until('the key', () => keyOf(it, 1) === publicKey(6))
  })
})
