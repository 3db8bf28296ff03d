import { describe, expect, it } from 'vitest'
import { ApiClient } from '#src/cluster/api-client.ts'
import { Publisher, type PublisherOptions } from '#src/cluster/publisher.ts'
import { ManualClock } from './support/clocks.ts'
import { FakeApi, type FakeObject, type Seen, status } from './support/fake-api.ts'
import { type RecordingLogger, recordingLogger } from './support/recording-logger.ts'
import { until } from './support/until.ts'

const KEY = 'projectcalico.org/WireguardPublicKey'
const PORT = 'podveil.io/wireguard-port'

interface Fixture extends AsyncDisposable {
  readonly api: FakeApi
  readonly clock: ManualClock
  readonly logger: RecordingLogger
  readonly publisher: Publisher
  readonly published: string[]
  patches(): Seen[]
  annotations(): unknown
  /** Hands the Node to the publisher, as its watch would. */
  observe(): void
}

async function setup(annotations: object | undefined, options: Partial<PublisherOptions> = {}): Promise<Fixture> {
  const api = await FakeApi.start()
  if (annotations) api.put('n1', { metadata: { annotations } })
  const clock = new ManualClock()
  const logger = recordingLogger()
  const client = new ApiClient({ credentials: api.credentials, clock })
  const published: string[] = []
  const publisher = new Publisher({
    client,
    nodeName: 'n1',
    logger,
    clock,
    limit: { interval: 1_000, most: 100 },
    onPublished: version => void published.push(version),
    ...options,
  })
  const node = (): FakeObject | undefined => api.objects.get('n1')
  return {
    api,
    clock,
    logger,
    publisher,
    published,
    patches: () => api.seen.filter(seen => seen.method === 'PATCH'),
    annotations: () => node()?.metadata.annotations,
    observe: () => {
      const metadata = node()?.metadata
      publisher.observed(
        metadata && {
          annotations: (metadata.annotations ?? {}) as Record<string, unknown>,
          labels: (metadata.labels ?? {}) as Record<string, unknown>,
          resourceVersion: metadata.resourceVersion,
        },
      )
    },
    async [Symbol.asyncDispose]() {
      await publisher.stop()
      client.close()
      await api.close()
    },
  }
}

describe('publishing annotations of the own Node', () => {
  it('writes only those that differ, and nobody else’s', async () => {
    await using f = await setup({ other: 'stays', [PORT]: '51820', [KEY]: 'old' })
    f.observe()
    f.publisher.setDesired(
      new Map([
        [KEY, 'new'],
        [PORT, '51820'],
      ]),
    )
    await f.publisher.whenPublished()
    expect(f.patches().map(seen => seen.body)).toEqual([{ metadata: { annotations: { [KEY]: 'new' } } }])
    expect(f.patches()[0]?.path).toBe('/api/v1/nodes/n1')
    expect(f.patches()[0]?.headers['content-type']).toBe('application/merge-patch+json')
    expect(f.patches()[0]?.query.get('fieldManager')).toBe('podveil')
    expect(f.annotations()).toEqual({ other: 'stays', [PORT]: '51820', [KEY]: 'new' })
  })

  it('writes nothing when the Node says it all already', async () => {
    await using f = await setup({ [KEY]: 'k' })
    f.observe()
    f.publisher.setDesired(
      new Map([
        [KEY, 'k'],
        [PORT, null],
      ]),
    )
    await f.publisher.whenPublished()
    expect(f.api.seen).toHaveLength(0)
    expect(f.publisher.state).toMatchObject({ published: true, patches: 0 })
  })

  it('withdraws with null, and leaves the rest', async () => {
    await using f = await setup({ other: 'stays', [KEY]: 'k' })
    f.observe()
    f.publisher.setDesired(new Map([[KEY, null]]))
    await f.publisher.whenPublished()
    expect(f.patches()[0]?.body).toEqual({ metadata: { annotations: { [KEY]: null } } })
    expect(f.annotations()).toEqual({ other: 'stays' })
  })

  it('writes labels with them, in one patch, and sets those back that somebody takes away', async () => {
    await using f = await setup({ other: 'stays' }, { subject: 'addresses' })
    f.observe()
    f.publisher.setDesired(new Map([[PORT, '51820']]), new Map([['podveil.io/self-described', 'true']]))
    await f.publisher.whenPublished()
    const said = { annotations: { [PORT]: '51820' }, labels: { 'podveil.io/self-described': 'true' } }
    expect(f.patches().map(seen => seen.body)).toEqual([{ metadata: said }])
    f.api.put('n1', { metadata: { annotations: { [PORT]: '51820' }, labels: {} } })
    f.observe()
    await until('the label', () => f.patches().length === 2)
    expect(f.patches()[1]?.body).toEqual({ metadata: { labels: said.labels } })
    expect(f.logger.lines.join('\n')).toContain(
      "changed this Node's addresses, setting them back: podveil.io/self-described",
    )
  })

  it('reads the Node itself where no watch has told yet', async () => {
    await using f = await setup({ [KEY]: 'k' })
    f.publisher.setDesired(new Map([[KEY, 'k']]))
    await f.publisher.whenPublished()
    expect(f.api.seen.map(seen => seen.method)).toEqual(['GET'])
  })

  it('patches nodes/status where told to', async () => {
    await using f = await setup({}, { subresource: 'status' })
    f.publisher.setDesired(new Map([[KEY, 'k']]))
    await f.publisher.whenPublished()
    expect(f.patches()[0]?.path).toBe('/api/v1/nodes/n1/status')
  })

  it('says the last of many wishes, with few patches', async () => {
    await using f = await setup({})
    f.observe()
    for (let i = 0; i <= 50; i++) f.publisher.setDesired(new Map([[KEY, `k${i}`]]))
    await f.publisher.whenPublished()
    await until('the last', () => JSON.stringify(f.annotations()) === JSON.stringify({ [KEY]: 'k50' }))
    expect(f.patches().length).toBeLessThanOrEqual(2)
  })

  it('does not take an event of before its own patch for somebody who undoes it', async () => {
    await using f = await setup({ [KEY]: 'old' })
    f.observe()
    const before = f.api.objects.get('n1')?.metadata.resourceVersion ?? ''
    f.publisher.setDesired(new Map([[KEY, 'new']]))
    await f.publisher.whenPublished()
    f.publisher.observed({ annotations: { [KEY]: 'old' }, labels: {}, resourceVersion: before })
    f.observe()
    expect(f.patches()).toHaveLength(1)
    expect(f.publisher.state.heals).toBe(0)
  })

  it('tries again after a failure, and tells it once', async () => {
    await using f = await setup({})
    f.observe()
    const fail = (_seen: Seen, response: Parameters<typeof status>[0]) => {
      status(response, 403, 'Forbidden', 'admission says no')
      return true
    }
    f.api.faults.push(fail, fail, fail)
    f.publisher.setDesired(new Map([[KEY, 'k']]))
    await until('published', () => {
      f.clock.advance(1_000)
      return f.publisher.state.published
    })
    expect(f.publisher.state.failures).toBe(3)
    const warnings = f.logger.lines.filter(line => line.startsWith('warn'))
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toContain('admission says no (403 Forbidden)')
  })

  it('says what to look at when there is no such Node, and publishes once there is', async () => {
    await using f = await setup(undefined)
    f.publisher.setDesired(new Map([[KEY, 'k']]))
    await until('failed', () => f.publisher.state.failures > 0)
    expect(f.logger.lines.filter(line => line.startsWith('warn'))).toEqual([
      'warn there is no Node "n1": is --node-name (NODE_NAME) the name under which the kubelet registers?',
    ])
    f.api.put('n1')
    await until('published', () => {
      f.clock.advance(1_000)
      return f.publisher.state.published
    })
    expect(f.annotations()).toEqual({ [KEY]: 'k' })
  })

  it('tells when the API server takes the patch and keeps something else', async () => {
    await using f = await setup({})
    f.observe()
    f.api.faults.push((_seen, response) => {
      response.end(
        JSON.stringify({ metadata: { name: 'n1', resourceVersion: '999', annotations: { [KEY]: 'mutated' } } }),
      )
      return true
    })
    f.publisher.setDesired(new Map([[KEY, 'k']]))
    await until('told', () => f.logger.lines.some(line => line.includes(`did not keep ${KEY}`)))
    expect(f.publisher.state.published).toBe(false)
  })
})

describe('somebody else changes our annotations', () => {
  it('sets back at once what they changed, with who-knows-what in the log, and not theirs', async () => {
    await using f = await setup({})
    f.observe()
    f.publisher.setDesired(
      new Map([
        [KEY, 'k'],
        [PORT, '51820'],
      ]),
    )
    await f.publisher.whenPublished()
    f.api.put('n1', { metadata: { annotations: { [KEY]: 'forged', [PORT]: '51820', theirs: 'x' } } })
    f.observe()
    await f.publisher.whenPublished()
    expect(f.annotations()).toEqual({ [KEY]: 'k', [PORT]: '51820', theirs: 'x' })
    expect(f.patches().at(-1)?.body).toEqual({ metadata: { annotations: { [KEY]: 'k' } } })
    expect(f.logger.lines.join('\n')).toContain(`setting them back: ${KEY} is "forged"`)
  })

  it('quarrels slowly: a controller that undoes at once is answered a few times a minute', async () => {
    await using f = await setup({})
    f.observe()
    f.publisher.setDesired(new Map([[KEY, 'k']]))
    await f.publisher.whenPublished()
    for (let second = 0; second < 600; second++) {
      if (f.publisher.state.published) {
        f.api.put('n1', { metadata: { annotations: {} } })
        f.observe()
      }
      f.clock.advance(1_000)
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    }
    const { heals } = f.publisher.state
    expect(heals).toBeGreaterThan(5)
    expect(f.patches().length).toBeLessThanOrEqual(60)
  })

  it('does not let a quarrel delay a new wish', async () => {
    await using f = await setup({})
    f.observe()
    f.publisher.setDesired(new Map([[KEY, 'k']]))
    await f.publisher.whenPublished()
    for (let i = 0; i < 2; i++) {
      f.api.put('n1', { metadata: { annotations: {} } })
      f.observe()
      if (i === 0) await f.publisher.whenPublished()
    }
    expect(f.publisher.state.published).toBe(false)
    f.publisher.setDesired(new Map([[KEY, 'rotated']]))
    await f.publisher.whenPublished()
    expect(f.annotations()).toEqual({ [KEY]: 'rotated' })
  })
})

describe('a publisher that is stopped', () => {
  it('ends its patch, leaves no timer and fails who waits for it', async () => {
    const f = await setup({})
    f.api.lasting = () => true
    f.publisher.setDesired(new Map([[KEY, 'k']]))
    const waiting = expect(f.publisher.whenPublished()).rejects.toThrow('stopped')
    await until('asked', () => f.api.seen.length === 1)
    await f[Symbol.asyncDispose]()
    await waiting
    expect(f.clock.pending).toBe(0)
    f.publisher.setDesired(new Map([[KEY, 'x']]))
    expect(f.api.seen).toHaveLength(1)
  })
})
