import { expect, it } from 'vitest'
import { ApiClient } from '#src/cluster/api-client.ts'
import { NodeEvents } from '#src/cluster/node-events.ts'
import { ManualClock } from './support/clocks.ts'
import { FakeApi, type FakeObject, type Fault, status } from './support/fake-api.ts'
import { recordingLogger } from './support/recording-logger.ts'
import { until } from './support/until.ts'

const accept: Fault = (_seen, response) => {
  response.end('{}')
  return true
}

async function setup(limit = { interval: 1_000, most: 100 }) {
  const api = await FakeApi.start('/api/v1/namespaces/default/events')
  api.lasting = accept
  const clock = new ManualClock()
  const logger = recordingLogger()
  const client = new ApiClient({ credentials: api.credentials, clock })
  const events = new NodeEvents({ client, nodeName: 'n1', logger, clock, limit })
  return {
    api,
    clock,
    logger,
    events,
    async [Symbol.asyncDispose]() {
      await events.stop()
      client.close()
      await api.close()
    },
  }
}

const refused = { type: 'Warning', reason: 'ValueRefused', message: 'wireguardMTU "x" is not a number' } as const

it('writes an Event about the Node, where kubectl describe node finds it', async () => {
  await using f = await setup()
  f.events.emit(refused)
  await until('written', () => f.api.seen.length === 1)
  const seen = f.api.seen[0]
  expect(seen?.method).toBe('POST')
  expect(seen?.path).toBe('/api/v1/namespaces/default/events')
  expect(seen?.body).toMatchObject({
    metadata: { namespace: 'default', name: expect.stringMatching(/^n1\.[0-9a-f]{16}$/) },
    involvedObject: { kind: 'Node', name: 'n1', uid: 'n1' },
    type: 'Warning',
    reason: 'ValueRefused',
    message: 'wireguardMTU "x" is not a number',
    source: { component: 'podveil', host: 'n1' },
    count: 1,
    firstTimestamp: '2023-11-14T22:13:20Z',
  })
})

it('raises the count of an Event that is there, instead of writing another', async () => {
  await using f = await setup()
  f.events.emit(refused)
  await f.events.flush()
  f.clock.advance(60_000)
  f.events.emit(refused)
  await f.events.flush()
  const [created] = f.api.seen.map(seen => seen.body as FakeObject)
  const name = created?.metadata.name
  expect(f.api.seen[1]?.method).toBe('PATCH')
  expect(f.api.seen[1]?.path).toBe(`/api/v1/namespaces/default/events/${name}`)
  expect(f.api.seen[1]?.body).toEqual({ count: 2, lastTimestamp: '2023-11-14T22:14:20Z' })
})

it('begins a new Event half an hour later, and when the server has forgotten the old one', async () => {
  await using f = await setup()
  const emit = async () => {
    f.events.emit(refused)
    await f.events.flush()
  }
  await emit()
  f.clock.advance(31 * 60_000)
  await emit()
  f.api.lasting = undefined
  await emit()
  f.api.lasting = accept
  await emit()
  expect(f.api.seen.map(seen => seen.method)).toEqual(['POST', 'POST', 'PATCH', 'POST'])
})

it('writes a storm of one Event as one or two writes, and drops what is beyond the limit', async () => {
  await using f = await setup({ interval: 60_000, most: 3 })
  for (let i = 0; i < 1_000; i++) f.events.emit(refused)
  for (let i = 0; i < 200; i++) f.events.emit({ ...refused, message: `another ${i}` })
  await until('as many as allowed', () => f.api.seen.length === 3)
  expect(f.events.dropped).toBeGreaterThan(100)
})

it('only logs that an Event cannot be written', async () => {
  await using f = await setup()
  f.api.lasting = (_seen, response) => {
    status(response, 403, 'Forbidden', 'no')
    return true
  }
  f.events.emit(refused)
  await until('told', () => f.logger.lines.length === 1)
  expect(f.logger.lines[0]).toContain(
    'cannot write an Event: POST /api/v1/namespaces/default/events: no (403 Forbidden)',
  )
})
