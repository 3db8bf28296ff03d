import { describe, expect, it } from 'vitest'
import { ManualClock } from './support/clocks.ts'
import { FakeApi, type Seen, status } from './support/fake-api.ts'
import { color, follow } from './support/followed.ts'
import { until } from './support/until.ts'

const streamed = (seen: { query: URLSearchParams }) => seen.query.get('sendInitialEvents') === 'true'
const watched = (seen: { query: URLSearchParams }) => seen.query.get('watch') === 'true'

describe('a reflector that watches metadata alone', () => {
  const isPartial = (seen: Seen) => String(seen.headers.accept).startsWith('application/json;as=PartialObjectMetadata;')

  it('reads the whole collection whole, and then has what changes told as metadata', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    await using f = follow(api, new ManualClock(), { metadataOnly: () => true })
    f.reflector.start()
    await until('the watch', () => api.count(watched) === 2)
    expect(api.seen.map(seen => [streamed(seen), isPartial(seen)])).toEqual([
      [true, false],
      [false, true],
    ])
    api.put('b', { color: 'blue' })
    await until('b', () => f.told.includes('upserted b blue'))
    expect(f.told).toEqual(['replaced 1', 'upserted b blue'])
  })

  it.each([[true], [false]])(
    'goes over to it where it is, and misses and repeats nothing (streamed list: %s)',
    async streams => {
      await using api = await FakeApi.start()
      api.streamsLists = streams
      api.put('a', { color: 'red' })
      let metadata = false
      await using f = follow(api, new ManualClock(), { metadataOnly: () => metadata })
      f.reflector.start()
      await f.reflector.synced
      await until('the watch', () => api.watchers === 1)
      for (let turn = 0; turn < 20; turn++) {
        api.put(`n${turn}`, { color: 'blue' })
        if (turn !== 10) continue
        metadata = true
        f.reflector.resume()
      }
      await until('all', () => f.reflector.items.size === 21)
      expect(f.told).toHaveLength(21)
      expect(api.seen.filter(isPartial)).toHaveLength(1)
      expect(f.reflector.state).toMatchObject({ lists: streams ? 1 : 2, restarts: 0, lastError: undefined })
    },
  )

  it('takes up where it is told to, and reads nothing of before', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    const resourceVersion = api.objects.get('a')?.metadata.resourceVersion ?? ''
    api.put('b', { color: 'blue' })
    await using f = follow(api, new ManualClock(), { resourceVersion })
    f.reflector.start()
    await until('b', () => f.told.length === 1)
    expect(f.told).toEqual(['upserted b blue'])
    expect(f.reflector.state.lists).toBe(0)
  })
})

describe('a reflector that rests after what changed nothing', () => {
  /** In a collection of one; what the server has sent before these have come back has come. */
  async function resting(api: FakeApi, rest: number | undefined) {
    api.put('a', { color: 'red' })
    const clock = new ManualClock()
    const f = follow(api, clock, rest === undefined ? {} : { rest: items => items * rest })
    f.reflector.start()
    await f.reflector.synced
    const trips = async () => {
      for (let trip = 0; trip < 10; trip++) await f.client.get(`${api.path}/a`)
    }
    // The list is news, and what comes with it.
    await trips()
    return { ...f, clock, trips }
  }

  it.each([
    ['takes what comes meanwhile only then', 100, ['replaced 1']],
    ['by no time takes it at once', undefined, ['replaced 1', 'upserted b blue']],
  ])('%s', async (_, rest, meanwhile) => {
    await using api = await FakeApi.start()
    await using f = await resting(api, rest)
    const timers = f.clock.pending
    api.put('a', { color: 'red', heartbeat: 1 })
    await until('it rests', () => rest === undefined || f.clock.pending > timers)
    api.put('b', { color: 'blue' })
    await f.trips()
    expect(f.told).toEqual(meanwhile)
    f.clock.advance(100)
    await until('b', () => f.told.length === 2)
  })

  it('takes all that has come meanwhile, however many pieces it comes in', async () => {
    await using api = await FakeApi.start()
    await using f = await resting(api, 100)
    const timers = f.clock.pending
    for (let beat = 0; beat < 12; beat++) {
      api.put('a', { color: 'red', heartbeat: `${beat}`.repeat(1_500) })
      await f.trips()
      await until('it rests', () => f.clock.pending > timers)
    }
    api.put('b', { color: 'blue' })
    await f.trips()
    f.clock.advance(100)
    await until('b', () => f.told.includes('upserted b blue'))
  })

  it.each([
    ['after news', { color: 'green' }],
    ['where a flood comes', { color: 'red', heartbeat: 'x'.repeat(140_000) }],
  ])('does not rest %s', async (_, fields) => {
    await using api = await FakeApi.start()
    await using f = await resting(api, 100)
    const { events } = f.reflector.state
    api.put('a', fields)
    await until('a', () => f.reflector.state.events > events)
    api.put('b', { color: 'blue' })
    await until('b', () => f.told.includes('upserted b blue'))
  })

  it('takes the end of a watch that comes meanwhile for the end that it is', async () => {
    await using api = await FakeApi.start()
    await using f = await resting(api, 100)
    // A watch that ends sooner counts as a failure.
    f.clock.advance(10_000)
    const timers = f.clock.pending
    api.put('a', { color: 'red', heartbeat: 1 })
    await until('it rests', () => f.clock.pending > timers)
    api.put('a', { color: 'red', heartbeat: 2 })
    api.endWatches()
    await f.trips()
    const watches = api.seen.filter(watched).length
    await until('the next watch', () => {
      f.clock.advance(50)
      return api.seen.filter(watched).length > watches
    })
    expect([f.reflector.state.restarts, f.logger.lines]).toEqual([0, []])
  })

  it('ends when it is stopped', async () => {
    await using api = await FakeApi.start()
    const f = await resting(api, 100)
    const timers = f.clock.pending
    api.put('a', { color: 'red', heartbeat: 1 })
    await until('it rests', () => f.clock.pending > timers)
    await f.reflector.stop()
    expect(f.reflector.state.phase).toBe('stopped')
    f.client.close()
  })
})

describe('a reflector that finds the API server well', () => {
  it('has the first list streamed and is synced once it is complete', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    api.put('b', { color: 'blue' })
    await using f = follow(api, new ManualClock())
    f.reflector.start()
    await f.reflector.synced
    expect([...f.reflector.items]).toEqual([
      ['a', 'red'],
      ['b', 'blue'],
    ])
    expect(f.told).toEqual(['replaced 2'])
    expect(api.seen).toHaveLength(1)
    const { query } = api.seen[0] ?? { query: new URLSearchParams() }
    expect(query.get('resourceVersionMatch')).toBe('NotOlderThan')
    expect(query.get('allowWatchBookmarks')).toBe('true')
  })

  it('asks for a watch of five to ten minutes, drawn anew for each, so that those of a cluster do not end together', async () => {
    for (const [drawn, seconds] of [
      [0, '300'],
      [0.5, '450'],
      [0.999, '600'],
    ] as const) {
      await using api = await FakeApi.start()
      await using f = follow(api, new ManualClock(), { random: () => drawn })
      f.reflector.start()
      await f.reflector.synced
      expect(api.seen[0]?.query.get('timeoutSeconds')).toBe(seconds)
    }
  })

  it('tells of every later change in its order, on the same connection', async () => {
    await using api = await FakeApi.start()
    await using f = follow(api, new ManualClock())
    f.reflector.start()
    await f.reflector.synced
    api.put('a', { color: 'red' })
    api.put('a', { color: 'green' })
    api.delete('a')
    await until('three events', () => f.told.length === 4)
    expect(f.told).toEqual(['replaced 0', 'upserted a red', 'upserted a green', 'deleted a'])
    expect(api.seen).toHaveLength(1)
  })

  it('ignores an event of the resourceVersion that it has already, and the deletion of what it has not', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    await using f = follow(api, new ManualClock())
    f.reflector.start()
    await f.reflector.synced
    api.send({ type: 'MODIFIED', object: api.objects.get('a') })
    api.send({ type: 'DELETED', object: { metadata: { name: 'x', resourceVersion: '1' } } })
    api.put('b', { color: 'blue' })
    await until('b', () => f.reflector.items.has('b'))
    expect(f.told).toEqual(['replaced 1', 'upserted b blue'])
  })

  it('keeps only what the projection keeps', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    api.put('b', { color: 'blue' })
    const redOnly = (raw: unknown) => ((raw as { color?: string }).color === 'red' ? 'red' : undefined)
    await using f = follow(api, new ManualClock(), { project: redOnly })
    f.reflector.start()
    await f.reflector.synced
    expect([...f.reflector.items.keys()]).toEqual(['a'])
    api.put('a', { color: 'blue' })
    await until('a goes', () => !f.reflector.items.has('a'))
    expect(f.told).toEqual(['replaced 1', 'deleted a'])
    expect(f.reflector.state.faults).toBe(0)
  })

  it('does not tell of an object that changed in what is not kept, and takes up after it all the same', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    await using f = follow(api, new ManualClock())
    f.reflector.start()
    await f.reflector.synced
    api.put('a', { color: 'red', heartbeat: 1 })
    api.put('b', { color: 'blue' })
    await until('b', () => f.reflector.items.has('b'))
    expect(f.told).toEqual(['replaced 1', 'upserted b blue'])
    expect(f.reflector.state.events).toBeGreaterThan(2)
  })

  it('asks for a selection when told to', async () => {
    await using api = await FakeApi.start()
    await using f = follow(api, new ManualClock(), { fieldSelector: 'metadata.name=a' })
    f.reflector.start()
    await f.reflector.synced
    expect(api.seen[0]?.query.get('fieldSelector')).toBe('metadata.name=a')
  })

  it('reports an object that cannot be read and a handler that throws, and goes on', async () => {
    await using api = await FakeApi.start()
    const project = (raw: unknown) => {
      const { color } = raw as { color?: string }
      if (color === 'bad') throw new TypeError('has a bad color')
      return String(color)
    }
    const broken = () => {
      throw new Error('bug')
    }
    const handler = { replaced() {}, upserted: broken, deleted() {} }
    await using f = follow(api, new ManualClock(), { project, handler })
    f.reflector.start()
    await f.reflector.synced
    api.put('a', { color: 'bad' })
    api.send({ type: 'ADDED', object: { kind: 'Node' } })
    api.send({ type: 'NONSENSE', object: {} })
    api.put('b', { color: 'red' })
    await until('b', () => f.reflector.items.has('b'))
    expect(f.reflector.state.faults).toBe(4)
    expect(f.logger.lines.join('\n')).toContain('a: has a bad color')
    expect(f.logger.lines.join('\n')).toContain('its handler failed: bug')
    expect([...f.reflector.items.keys()]).toEqual(['b'])
  })

  it('says of objects that cannot be read as much as a log can take, now and as long as it lives', async () => {
    await using api = await FakeApi.start()
    const clock = new ManualClock()
    const project = (raw: unknown) => {
      if (color(raw) === 'bad') throw new TypeError('has a bad color')
      return color(raw)
    }
    await using f = follow(api, clock, { project })
    f.reflector.start()
    await f.reflector.synced
    const said = () => f.logger.lines.filter(line => line.startsWith('warn ignored'))
    const bad = async (times: number) => {
      const before = f.reflector.state.faults
      for (let i = 0; i < times; i++) api.put('a', { color: 'bad' })
      await until('the faults', () => f.reflector.state.faults === before + times)
    }
    await bad(100)
    expect(said()).toHaveLength(20)
    clock.advance(3_000)
    await bad(1)
    expect(said()).toHaveLength(21)
    expect(said().at(-1)).toContain('a: has a bad color (and 80 more before that were not logged)')
  })
})

describe('a reflector whose watch breaks', () => {
  it('takes up where it was, with no new list, and misses nothing', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    const clock = new ManualClock()
    await using f = follow(api, clock)
    f.reflector.start()
    await f.reflector.synced
    await until('watch', () => api.watchers === 1)
    api.disconnect()
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    api.put('b', { color: 'blue' })
    api.delete('a')
    clock.advance(30_000)
    await until('caught up', () => f.reflector.items.has('b') && !f.reflector.items.has('a'))
    expect(f.told).toEqual(['replaced 1', 'upserted b blue', 'deleted a'])
    expect(api.count(streamed)).toBe(1)
    expect(f.reflector.state).toMatchObject({ lists: 1, watches: 2, restarts: 1, phase: 'watching' })
    expect(f.logger.lines.filter(line => line.startsWith('warn'))).toHaveLength(1)
    expect(f.logger.lines.at(-1)).toContain('info following the API server again')
  })

  it('resumes from a bookmark when nothing else happened since', async () => {
    await using api = await FakeApi.start()
    const clock = new ManualClock()
    await using f = follow(api, clock)
    f.reflector.start()
    await f.reflector.synced
    await until('watch', () => api.watchers === 1)
    api.put('hidden', {}, true)
    api.bookmark()
    await until('bookmark seen', () => f.reflector.state.events === 2)
    clock.advance(20_000)
    api.endWatches()
    await until('ended', () => api.watchers === 0)
    await until('again', () => {
      clock.advance(100)
      return api.watchers === 1
    })
    expect(api.seen.at(-1)?.query.get('resourceVersion')).toBe('101')
  })

  it('notices a connection that hangs, within the bound', async () => {
    await using api = await FakeApi.start()
    const clock = new ManualClock()
    await using f = follow(api, clock, { silenceMs: 90_000 })
    f.reflector.start()
    await f.reflector.synced
    clock.advance(60_000)
    api.bookmark()
    await until('bookmark', () => f.reflector.state.events === 2)
    clock.advance(89_000)
    expect(f.reflector.state.phase).toBe('watching')
    clock.advance(2_000)
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    expect(f.reflector.state.lastError).toContain('silent for 90 s')
    await until('the dead connection is closed', () => api.watchers === 0)
  })

  it('removes nothing before a new list is complete, and then all that is gone at once', async () => {
    await using api = await FakeApi.start()
    for (const name of ['a', 'b', 'c']) api.put(name, { color: 'red' })
    const clock = new ManualClock()
    await using f = follow(api, clock)
    f.reflector.start()
    await f.reflector.synced
    await until('watch', () => api.watchers === 1)
    api.delete('b', true)
    api.compact()
    api.faults.push((_seen, response) => {
      response.write(`${JSON.stringify({ type: 'ADDED', object: api.objects.get('a') })}\n`)
      return true
    })
    api.send({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old' } })
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    clock.advance(30_000)
    await until('half a list', () => f.reflector.state.events === 5)
    expect(f.reflector.items.size).toBe(3)
    api.disconnect()
    await until('noticed again', () => f.reflector.state.phase === 'waiting')
    expect(f.reflector.items.size).toBe(3)
    clock.advance(30_000)
    await until('listed', () => f.reflector.items.size === 2)
    expect(f.told).toEqual(['replaced 3', 'replaced 2'])
  })

  it('lists anew when the resourceVersion is too old to take up at', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    const clock = new ManualClock()
    await using f = follow(api, clock)
    f.reflector.start()
    await f.reflector.synced
    await until('watch', () => api.watchers === 1)
    api.disconnect()
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    api.delete('a')
    api.put('b', { color: 'blue' })
    api.compact()
    clock.advance(30_000)
    await until('410', () => f.reflector.state.restarts === 2)
    clock.advance(30_000)
    await until('listed', () => f.reflector.items.has('b'))
    expect(f.told).toEqual(['replaced 1', 'replaced 1'])
  })

  it('reconnects after a line that is not JSON', async () => {
    await using api = await FakeApi.start()
    const clock = new ManualClock()
    await using f = follow(api, clock)
    f.reflector.start()
    await f.reflector.synced
    await until('watch', () => api.watchers === 1)
    api.write('{"type":"ADDED","object":{\n')
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    expect(f.logger.lines.at(-1)).toContain('is not JSON')
    clock.advance(30_000)
    api.put('a', { color: 'red' })
    await until('a', () => f.reflector.items.has('a'))
  })

  it('waits as long as a busy server asks', async () => {
    await using api = await FakeApi.start()
    api.faults.push((_seen, response) => {
      status(response, 429, 'TooManyRequests', 'slow down', 20)
      return true
    })
    const clock = new ManualClock()
    await using f = follow(api, clock)
    f.reflector.start()
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    clock.advance(19_000)
    await new Promise(setImmediate)
    expect(api.seen).toHaveLength(1)
    clock.advance(6_001)
    await f.reflector.synced
  })

  it('never asks in a hot loop, however the server fails', async () => {
    await using api = await FakeApi.start()
    api.lasting = (_seen, response) => {
      if (api.seen.length % 3 === 0) response.end()
      else if (api.seen.length % 3 === 1) status(response, 503, 'ServiceUnavailable', 'not yet')
      else response.socket?.resetAndDestroy()
      return true
    }
    const clock = new ManualClock()
    await using f = follow(api, clock)
    f.reflector.start()
    const minutes = 10
    for (let second = 0; second < minutes * 60; second++) {
      clock.advance(1_000)
      await new Promise(setImmediate)
      await new Promise(setImmediate)
    }
    // Some while the delays grow, then one in 15 to 30 s.
    expect(api.seen.length).toBeGreaterThan(10)
    expect(api.seen.length).toBeLessThan(12 + minutes * 4)
  })
})

describe('a reflector on an API server that streams no lists', () => {
  it('lists in pages, watches from there, and remembers', async () => {
    await using api = await FakeApi.start()
    api.streamsLists = false
    for (let i = 0; i < 7; i++) api.put(`n${i}`, { color: 'red' })
    const clock = new ManualClock()
    await using f = follow(api, clock, { pageSize: 3 })
    f.reflector.start()
    await f.reflector.synced
    await until('watch', () => api.watchers === 1)
    expect(f.told).toEqual(['replaced 7'])
    expect(api.count(seen => seen.query.get('limit') === '3')).toBe(3)
    expect(f.reflector.state.mode).toBe('list')

    api.compact()
    api.put('n7', { color: 'blue' })
    api.send({ type: 'ERROR', object: { code: 410 } })
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    api.delete('n0')
    clock.advance(30_000)
    await until('listed again', () => f.told.includes('replaced 7', 1))
    expect(f.reflector.items.has('n0')).toBe(false)
    expect(api.count(streamed)).toBe(1)
    expect(f.logger.lines.filter(line => line.includes('streams no lists'))).toHaveLength(1)
  })

  it('lists in pages when the stream never says that it is complete', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    api.faults.push((_seen, response) => {
      response.write(`${JSON.stringify({ type: 'ADDED', object: api.objects.get('a') })}\n`)
      return true
    })
    const clock = new ManualClock()
    await using f = follow(api, clock)
    f.reflector.start()
    await until('half a list', () => f.reflector.state.events === 1)
    clock.advance(91_000)
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    clock.advance(30_000)
    await f.reflector.synced
    expect(api.count(seen => !watched(seen))).toBe(1)
    expect(f.reflector.state.mode).toBe('watch-list')
  })
})

describe('a reflector on a resource that may not be installed', () => {
  const missing = (_seen: unknown, response: Parameters<typeof status>[0]) => {
    response.statusCode = 404
    response.end('404 page not found\n')
    return true
  }

  it('counts it as empty after a second look, says so once, and finds it when it comes', async () => {
    await using api = await FakeApi.start()
    api.lasting = missing
    const clock = new ManualClock()
    await using f = follow(api, clock, { optional: true })
    f.reflector.start()
    await until('first look', () => api.seen.length === 1)
    expect(f.reflector.state.synced).toBe(false)
    await until('second look', () => {
      clock.advance(200)
      return api.seen.length === 2
    })
    await f.reflector.synced
    expect(f.told).toEqual(['replaced 0'])
    await until('absent', () => f.reflector.state.phase === 'absent')
    clock.advance(9_000)
    await new Promise(setImmediate)
    expect(api.seen).toHaveLength(2)
    clock.advance(22_000)
    await until('third look', () => api.seen.length === 3)
    expect(f.logger.lines).toHaveLength(1)
    api.lasting = undefined
    api.put('a', { color: 'red' })
    await until('found', () => {
      clock.advance(1_000)
      return f.reflector.items.has('a')
    })
  })

  it('does not empty what it has for one 404 of a server that is starting', async () => {
    await using api = await FakeApi.start()
    api.put('a', { color: 'red' })
    const clock = new ManualClock()
    await using f = follow(api, clock, { optional: true })
    f.reflector.start()
    await f.reflector.synced
    await until('watch', () => api.watchers === 1)
    api.faults.push(missing)
    api.disconnect()
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    clock.advance(30_000)
    await until('404', () => api.faults.length === 0)
    await until('listed again', () => {
      clock.advance(1_000)
      return f.told.length === 2
    })
    expect(f.told).toEqual(['replaced 1', 'replaced 1'])
  })

  it('retries a resource that must be there with the reason in its state', async () => {
    await using api = await FakeApi.start()
    api.lasting = missing
    await using f = follow(api, new ManualClock())
    f.reflector.start()
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    expect(f.reflector.state.lastError).toContain('404')
    expect(f.reflector.state.synced).toBe(false)
  })
})

describe('a reflector that is stopped', () => {
  it('leaves no connection and no timer, and rejects a wait for its first list', async () => {
    await using api = await FakeApi.start()
    api.lasting = () => true
    const clock = new ManualClock()
    const f = follow(api, clock)
    f.reflector.start()
    await until('asked', () => api.seen.length === 1)
    await f.reflector.stop()
    await expect(f.reflector.synced).rejects.toThrow()
    f.client.close()
    await until('closed', () => api.connections === 0)
    expect(clock.pending).toBe(0)
    expect(f.reflector.state.phase).toBe('stopped')
  })

  it('stops while it waits, while it watches, and before it was started', async () => {
    await using api = await FakeApi.start()
    const clock = new ManualClock()
    await using waiting = follow(api, clock)
    await using watching = follow(api, clock)
    await using idle = follow(api, clock)
    watching.reflector.start()
    await watching.reflector.synced
    api.faults.push((_seen, response) => {
      status(response, 500, 'InternalError', 'no')
      return true
    })
    waiting.reflector.start()
    await until('waiting', () => waiting.reflector.state.phase === 'waiting')
    await Promise.all([waiting, watching, idle].map(f => f.reflector.stop()))
    expect(clock.pending).toBe(0)
    api.put('a', {})
    expect(watching.told).toEqual(['replaced 0'])
  })
})
