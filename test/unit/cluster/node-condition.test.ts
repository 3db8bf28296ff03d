import { describe, expect, it } from 'vitest'
import { ApiClient } from '#src/cluster/api-client.ts'
import { ConditionPublisher, conditionPatch, nextCondition } from '#src/cluster/node-condition.ts'
import { ManualClock } from './support/clocks.ts'
import { FakeApi, status } from './support/fake-api.ts'
import { recordingLogger } from './support/recording-logger.ts'
import { until } from './support/until.ts'

const NOW = Date.parse('2026-11-22T10:00:00.500Z')
const encrypted = { status: 'True', reason: 'AllPeersEncrypted', message: '12 of 12 peers' } as const

describe('the condition to write', () => {
  it('begins now where the Node has none', () => {
    expect(nextCondition([{ type: 'Ready', status: 'True' }], encrypted, NOW)).toEqual({
      type: 'EncryptionReady',
      ...encrypted,
      lastHeartbeatTime: '2026-11-22T10:00:00Z',
      lastTransitionTime: '2026-11-22T10:00:00Z',
    })
  })

  it('is none where the Node has it', () => {
    expect(nextCondition([{ type: 'EncryptionReady', ...encrypted }], encrypted, NOW)).toBeUndefined()
  })

  it('keeps the time of transition while the status stays', () => {
    const old = { type: 'EncryptionReady', ...encrypted, lastTransitionTime: '2026-01-01T00:00:00Z' }
    const { message } = { message: '13 of 13 peers' }
    expect(nextCondition([old], { ...encrypted, message }, NOW)?.lastTransitionTime).toBe('2026-01-01T00:00:00Z')
    expect(nextCondition([old], { ...encrypted, status: 'False' }, NOW)?.lastTransitionTime).toBe(
      '2026-11-22T10:00:00Z',
    )
  })

  it.each([undefined, null, 'x', 3, {}, [null, 7, 'x', { type: 3 }]])('survives conditions that are %j', present => {
    expect(nextCondition(present, encrypted, NOW)?.status).toBe('True')
  })

  it('is patched alone, so that merging by type leaves the others', () => {
    const condition = nextCondition([], encrypted, NOW)
    expect(condition && conditionPatch(condition)).toEqual({ status: { conditions: [condition] } })
  })
})

describe('keeping the condition on the Node', () => {
  it('writes it once, with a strategic merge patch of nodes/status, and again when somebody removed it', async () => {
    await using api = await FakeApi.start()
    api.put('n1', { status: { conditions: [] } })
    const client = new ApiClient({ credentials: api.credentials })
    const logger = recordingLogger()
    const publisher = new ConditionPublisher({ client, nodeName: 'n1', logger, limit: { interval: 1_000, most: 100 } })
    const patches = () => api.seen.filter(seen => seen.method === 'PATCH')
    publisher.set(encrypted)
    await until('written', () => patches().length === 1)
    expect(patches()[0]?.path).toBe('/api/v1/nodes/n1/status')
    expect(patches()[0]?.headers['content-type']).toBe('application/strategic-merge-patch+json')
    publisher.set({ ...encrypted })
    publisher.observed([{ type: 'EncryptionReady', ...encrypted }])
    api.put('n1', { status: { conditions: [] } })
    publisher.observed([])
    await until('written again', () => patches().length === 2)
    await publisher.stop()
    client.close()
  })

  it('tells a failure once and tries again', async () => {
    await using api = await FakeApi.start()
    api.lasting = (_seen, response) => {
      status(response, 403, 'Forbidden', 'no')
      return true
    }
    const clock = new ManualClock()
    const client = new ApiClient({ credentials: api.credentials, clock })
    const logger = recordingLogger()
    const publisher = new ConditionPublisher({
      client,
      nodeName: 'n1',
      logger,
      clock,
      limit: { interval: 1, most: 100 },
    })
    publisher.set(encrypted)
    await until('tried thrice', () => {
      clock.advance(1_000)
      return api.seen.length >= 3
    })
    expect(logger.lines.filter(line => line.startsWith('warn'))).toHaveLength(1)
    await publisher.stop()
    client.close()
    expect(clock.pending).toBe(0)
  })
})
