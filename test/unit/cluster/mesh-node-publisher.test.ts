import { describe, expect, test } from 'vitest'
import { ApiError } from '#src/cluster/api-errors.ts'
import { MESH_NODES, meshNodeSpec, projectMeshNode } from '#src/cluster/mesh-node.ts'
import { MeshNodePublisher } from '#src/cluster/mesh-node-publisher.ts'
import type { JsonObject } from '#src/lab/apiserver/json.ts'
import { mergePatch } from '#src/lab/apiserver/merge-patch.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import { announcement, name, nodeRecord } from '../mesh/records.ts'
import { ManualClock } from './support/clocks.ts'
import { recordingLogger } from './support/recording-logger.ts'
import { until } from './support/until.ts'

/** A server that holds at most one MeshNode, or does not know what that is. */
function server({ served = true } = {}) {
  const calls: string[] = []
  const state = { served, refusing: 0, held: undefined as JsonObject | undefined }
  const write = (call: string, missing: boolean, apply: () => JsonObject) => {
    calls.push(call)
    const status = state.refusing > 0 ? 403 : !state.served || missing ? 404 : 0
    if (state.refusing > 0) state.refusing--
    if (status !== 0) return Promise.reject(new ApiError(call, status, 'Test', 'refused'))
    state.held = apply()
    return Promise.resolve(state.held)
  }
  return {
    calls,
    state,
    read: () => projectMeshNode(state.held),
    client: {
      create: (_: string, object: unknown) => write('create', false, () => object as JsonObject),
      mergePatch: (path: string, patch: unknown) => {
        expect(path).toBe(`${MESH_NODES}/node-1`)
        return write(
          'patch',
          state.held === undefined,
          () => mergePatch(state.held ?? {}, patch as JsonObject) as JsonObject,
        )
      },
    },
  }
}

function publisher(api: ReturnType<typeof server>) {
  const logger = recordingLogger()
  const clock = new ManualClock()
  const options = { client: api.client, logger, clock, random: () => 0.5, limit: { interval: 1, most: 100 } }
  return { logger, clock, publisher: new MeshNodePublisher(options) }
}

const node = (fields: Partial<NodeRecord> = {}): NodeRecord => nodeRecord(1, { createdAt: 1_700_000_000, ...fields })

describe('an agent’s own MeshNode', () => {
  test('is made, is owned by the Node, and says what that says', async () => {
    const api = server()
    const { publisher: own } = publisher(api)
    own.setDesired(node())
    await until('the write', () => api.state.held !== undefined)
    expect(api.state.held).toMatchObject({
      metadata: { name: name(1), ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: name(1), uid: 'uid-1' }] },
      spec: meshNodeSpec(node()),
    })
    await own.stop()
  })

  test('is written when what the Node says changes, and at no other time', async () => {
    const api = server()
    const { publisher: own } = publisher(api)
    own.setDesired(node())
    await until('the first', () => api.state.held !== undefined)
    for (let heartbeat = 0; heartbeat < 5; heartbeat++) own.setDesired(node({ faults: [`${heartbeat}`] }))
    own.setDesired(node({ announced: { 4: announcement(1, { port: 5 }), 6: undefined } }))
    await until('the second', () => api.read()?.announced[4]?.port === 5)
    own.setDesired(node({ announced: { 4: undefined, 6: undefined } }))
    await until('the third', () => api.read()?.announced[4] === undefined)
    expect(api.calls).toEqual(['patch', 'create', 'patch', 'patch'])
    await own.stop()
  })

  test('is written again when somebody changed or removed it', async () => {
    const api = server()
    const { publisher: own } = publisher(api)
    own.setDesired(node())
    await until('the write', () => api.state.held !== undefined)
    own.observed(api.read())
    api.state.held = { ...api.state.held, spec: meshNodeSpec(nodeRecord(2)) as JsonObject }
    own.observed(api.read())
    await until('the repair', () => api.read()?.uid === 'uid-1')
    api.state.held = undefined
    own.observed(undefined)
    await until('another one', () => api.state.held !== undefined)
    await own.stop()
  })

  test('waits, without a word, for a definition that is not there', async () => {
    const api = server({ served: false })
    const { publisher: own, logger, clock } = publisher(api)
    own.setDesired(node())
    await until('the attempt', () => logger.lines.length > 0)
    expect(logger.lines.every(line => line.startsWith('debug'))).toBe(true)
    api.state.served = true
    clock.advance(300_000)
    await until('the write', () => api.state.held !== undefined)
    await own.stop()
  })

  test('that is not ours to write is told once, and tried seldom', async () => {
    const api = server()
    api.state.refusing = 6
    const { publisher: own, logger, clock } = publisher(api)
    own.setDesired(node())
    for (let refusal = 1; refusal <= 4; refusal++) {
      await until(`refusal ${refusal}`, () => api.calls.length === refusal)
      await until('the wait', () => logger.lines.length >= refusal)
      if (refusal < 4) clock.advance(30_000)
    }
    expect(logger.lines.filter(line => line.startsWith('warn'))).toHaveLength(1)
    clock.advance(60_000)
    expect(api.calls).toHaveLength(4)
    await own.stop()
  })
})
