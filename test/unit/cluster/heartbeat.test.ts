import { describe, expect, test } from 'vitest'
import { ApiError } from '#src/cluster/api-errors.ts'
import { HeartbeatPublisher, readHeartbeat } from '#src/cluster/heartbeat.ts'
import { ManualClock } from './support/clocks.ts'
import { recordingLogger } from './support/recording-logger.ts'
import { until } from './support/until.ts'

const PATH = '/apis/coordination.k8s.io/v1/namespaces/podveil-system/leases'
const CONTENT = { nodeUid: 'u1', latestHandshake: '2026-11-22T10:00:00.000Z' }

/** A server that holds at most one Lease. */
function server() {
  const calls: string[] = []
  const state: { lease: unknown } = { lease: undefined }
  const refuse = (status: number) => new ApiError('leases', status, 'Test', 'refused')
  return {
    calls,
    state,
    client: {
      create: async (path: string, object: unknown) => {
        calls.push(`create ${path}`)
        if (state.lease) throw refuse(409)
        state.lease = object
      },
      mergePatch: async (path: string, patch: unknown) => {
        calls.push(`patch ${path}`)
        if (!state.lease) throw refuse(404)
        state.lease = patch
      },
    },
  }
}

function publisher(api: ReturnType<typeof server>, clock = new ManualClock()) {
  const logger = recordingLogger()
  const options = { client: api.client, nodeName: 'n1', namespace: 'podveil-system', logger, clock, random: () => 1 }
  return { clock, logger, heartbeat: new HeartbeatPublisher(options) }
}

describe('an agent’s heartbeat', () => {
  test('makes the Lease, and then renews it once a minute, however often it is offered', async () => {
    const api = server()
    const { clock, heartbeat } = publisher(api)
    heartbeat.beat(CONTENT)
    heartbeat.beat(CONTENT)
    await until('the write', () => api.state.lease !== undefined)
    expect(readHeartbeat(api.state.lease)).toMatchObject({
      node: 'n1',
      duration: 300,
      latestHandshake: CONTENT.latestHandshake,
    })
    clock.advance(59_000)
    heartbeat.beat(CONTENT)
    clock.advance(2_000)
    heartbeat.beat(CONTENT)
    await until('the write', () => api.calls.length > 1)
    expect(api.calls).toEqual([`create ${PATH}`, `patch ${PATH}/n1`])
    await heartbeat.stop()
  })

  test('takes over the Lease that an earlier agent of the node left', async () => {
    const api = server()
    api.state.lease = {}
    const { heartbeat } = publisher(api)
    heartbeat.beat(CONTENT)
    await until('the write', () => api.calls.length > 1)
    expect(readHeartbeat(api.state.lease)?.node).toBe('n1')
    await heartbeat.stop()
  })

  test.each([undefined, null, 7, {}, { spec: { holderIdentity: 'n', renewTime: 'x', leaseDurationSeconds: 1 } }])(
    'is none in %j',
    raw => {
      expect(readHeartbeat(raw)).toBeUndefined()
    },
  )
})
