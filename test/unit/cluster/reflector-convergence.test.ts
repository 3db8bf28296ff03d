import fc from 'fast-check'
import { expect, it } from 'vitest'
import { fastClock } from './support/clocks.ts'
import { FakeApi, status } from './support/fake-api.ts'
import { follow } from './support/followed.ts'
import { until } from './support/until.ts'

const NAMES = ['a', 'b', 'c', 'd']
const COLORS = ['red', 'green', 'blue']

type Step = (api: FakeApi) => void | Promise<void>

/** What happens to the collection. */
const change: fc.Arbitrary<[string, Step]> = fc.oneof(
  fc
    .tuple(fc.constantFrom(...NAMES), fc.constantFrom(...COLORS))
    .map(([name, color]): [string, Step] => [`put ${name} ${color}`, api => api.put(name, { color })]),
  fc.constantFrom(...NAMES).map((name): [string, Step] => [`delete ${name}`, api => api.delete(name)]),
)

/** What happens to the server and to the way there. */
const faults: Record<string, Step> = {
  disconnect: api => api.disconnect(),
  'end watches': api => api.endWatches(),
  compact: api => api.compact(),
  'compact and disconnect': api => {
    api.compact()
    api.disconnect()
  },
  '410 in the stream': api => api.send({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } }),
  'a line that is not JSON': api => api.write('{"type":\n'),
  'a line that breaks off': api => {
    api.write('{"type":"ADDED","object":')
    api.disconnect()
  },
  'the same events again': api => {
    for (const object of api.objects.values()) api.send({ type: 'MODIFIED', object })
  },
  'a bookmark': api => api.bookmark(),
  'a request that is never answered': api => void api.faults.push(() => true),
  'a busy server': api =>
    void api.faults.push((_seen, response) => {
      status(response, 429, 'TooManyRequests', 'slow down', 1)
      return true
    }),
  'an error of the server': api =>
    void api.faults.push((_seen, response) => {
      status(response, 500, 'InternalError', 'etcd has no leader')
      return true
    }),
  'half a list': api =>
    void api.faults.push((seen, response) => {
      if (seen.query.get('sendInitialEvents') !== 'true') return false
      response.write(
        `${JSON.stringify({ type: 'ADDED', object: { metadata: { name: 'ghost', resourceVersion: '1' } } })}\n`,
      )
      response.write('{"type":"ADDED"', () => response.socket?.resetAndDestroy())
      return true
    }),
  'a restart': async api => {
    await api.close()
    await api.listen()
  },
  'an older server': api => {
    api.streamsLists = false
  },
}

/** Lets some of what is under way arrive. */
const moment: [string, Step] = [
  'a moment',
  async () => {
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate)
  },
]

/** The server forgets what happened while the way to it was cut: only a new list can tell. */
const outage: fc.Arbitrary<[string, Step]> = fc.array(change, { maxLength: 4 }).map(changes => [
  `outage (${changes.map(([name]) => name).join(', ')})`,
  async api => {
    api.disconnect()
    for (const [, take] of changes) await take(api)
    api.compact()
  },
])

const step = fc.oneof(
  { weight: 1, arbitrary: outage },
  { weight: 3, arbitrary: change },
  { weight: 2, arbitrary: fc.constantFrom(...Object.entries(faults)) },
  { weight: 2, arbitrary: fc.constant(moment) },
)

it('holds what the server holds in the end, whatever happened on the way', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async steps => {
      await using api = await FakeApi.start()
      await using f = follow(api, fastClock(2_000), {
        silenceMs: 60_000,
        handler: {
          replaced: items => {
            model = new Map(items)
          },
          upserted: (item, key) => void model.set(key, item),
          deleted: key => void model.delete(key),
        },
      })
      let model = new Map<string, string>()
      f.reflector.start()
      for (const [, take] of steps) await take(api)
      api.faults.length = 0
      const truth = () =>
        [...api.objects]
          .map(([name, { color }]) => `${name} ${String(color)}`)
          .sort()
          .join()
      const held = (items: ReadonlyMap<string, string>) =>
        [...items]
          .map(([name, color]) => `${name} ${String(color)}`)
          .sort()
          .join()
      await until('the copy is the same', () => f.reflector.state.synced && held(f.reflector.items) === truth())
      expect(held(model)).toBe(truth())
      expect(api.seen.length).toBeLessThan(20 + 4 * steps.length)
    }),
    { numRuns: 150 },
  )
}, 60_000)
