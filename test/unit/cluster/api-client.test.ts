import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ApiClient, type ApiClientOptions } from '#src/cluster/api-client.ts'
import { ApiError, ApiFormatError, ApiUnreachableError } from '#src/cluster/api-errors.ts'
import { LineSplitter, LineTooLongError } from '#src/cluster/line-splitter.ts'
import { ManualClock } from './support/clocks.ts'
import { FakeApi, type Fault, status } from './support/fake-api.ts'
import { until } from './support/until.ts'

async function setup(options: Partial<ApiClientOptions> = {}) {
  const api = await FakeApi.start()
  const clock = new ManualClock()
  const client = new ApiClient({ credentials: api.credentials, clock, ...options })
  return {
    api,
    clock,
    client,
    async [Symbol.asyncDispose]() {
      client.close()
      await api.close()
    },
  }
}

const answer =
  (body: string): Fault =>
  (_seen, response) => {
    response.end(body)
    return true
  }

/** The error of a promise that must fail. */
const errorOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => error,
  )

const all = async (stream: AsyncIterable<unknown>): Promise<unknown[]> => {
  const found: unknown[] = []
  for await (const item of stream) found.push(item)
  return found
}

describe('requests', () => {
  it('go over one connection, one after the other', async () => {
    await using f = await setup()
    f.api.put('a')
    for (let i = 0; i < 5; i++) await f.client.get('/api/v1/nodes/a')
    expect(f.api.connections).toBe(1)
  })

  it('share a bounded number of connections, however many are made at once', async () => {
    await using f = await setup({ sockets: 3 })
    f.api.put('a')
    await Promise.all(Array.from({ length: 20 }, () => f.client.get('/api/v1/nodes/a')))
    expect(f.api.connections).toBeLessThanOrEqual(3)
    expect(f.api.seen).toHaveLength(20)
  })

  it('carry what authenticates them, and the path of the server before their own', async () => {
    await using f = await setup()
    f.api.lasting = answer('{}')
    const server = new URL('/k8s/clusters/c-1/', f.api.credentials.server)
    const client = new ApiClient({ credentials: { ...f.api.credentials, server } })
    await client.get('/api/v1/nodes', { query: { labelSelector: 'a in (b, c)', watch: undefined } })
    expect(f.api.seen[0]?.path).toBe('/k8s/clusters/c-1/api/v1/nodes')
    expect(f.api.seen[0]?.query.get('labelSelector')).toBe('a in (b, c)')
    expect(f.api.seen[0]?.query.has('watch')).toBe(false)
    expect(f.api.seen[0]?.headers.authorization).toBe('Bearer t')
    client.close()
  })

  it('are made once more with fresh credentials after a 401, and only once', async () => {
    await using f = await setup()
    f.api.put('a')
    const refuse: Fault = (_seen, response) => {
      status(response, 401, 'Unauthorized', 'Unauthorized')
      return true
    }
    let token = 1
    const credentials = {
      ...f.api.credentials,
      access: async () => ({ headers: { authorization: `Bearer ${token}` }, tls: {} }),
      refused: () => void token++,
    }
    const client = new ApiClient({ credentials })
    f.api.faults.push(refuse)
    await client.get('/api/v1/nodes/a')
    expect(f.api.seen.map(seen => seen.headers.authorization)).toEqual(['Bearer 1', 'Bearer 2'])
    f.api.lasting = refuse
    expect(await errorOf(client.get('/api/v1/nodes/a'))).toMatchObject({ status: 401 })
    expect(f.api.seen).toHaveLength(4)
    client.close()
  })

  it('survive that the server closed the kept connection', async () => {
    await using f = await setup()
    f.api.put('a')
    await f.client.get('/api/v1/nodes/a')
    f.api.faults.push((_seen, response) => {
      response.socket?.resetAndDestroy()
      return true
    })
    expect(await f.client.get('/api/v1/nodes/a')).toMatchObject({ metadata: { name: 'a' } })
  })

  it('that make something are not sent twice: the first may have arrived', async () => {
    await using f = await setup()
    f.api.put('a')
    await f.client.get('/api/v1/nodes/a')
    f.api.faults.push((_seen, response) => {
      response.socket?.resetAndDestroy()
      return true
    })
    expect(await errorOf(f.client.create('/api/v1/nodes', {}))).toBeInstanceOf(ApiUnreachableError)
    expect(f.api.seen).toHaveLength(2)
  })
})

describe('an answer that is no', () => {
  it('is an ApiError that says what was asked and what the server said', async () => {
    await using f = await setup()
    f.api.faults.push((_seen, response) => {
      status(response, 429, 'TooManyRequests', 'slow\ndown', 7)
      return true
    })
    const error = await errorOf(f.client.get('/api/v1/nodes/a'))
    expect(error).toBeInstanceOf(ApiError)
    expect(error).toMatchObject({
      code: 'ERR_KUBERNETES_API',
      status: 429,
      reason: 'TooManyRequests',
      retryAfter: 7,
      what: 'GET /api/v1/nodes/a',
      message: 'GET /api/v1/nodes/a: slow down (429 TooManyRequests)',
    })
  })

  it.each([
    ['text of a proxy', '<html>Bad gateway</html>', '<html>Bad gateway</html> (502)'],
    ['nothing', '', 'refused (502)'],
    ['JSON that is no Status', '[1]', 'refused (502)'],
    ['a Status of wrong types', '{"message":7,"reason":{},"code":"x","details":3}', 'refused (502)'],
  ])('is told in one line when it is %s', async (_name, body, expected) => {
    await using f = await setup()
    f.api.faults.push((_seen, response) => {
      response.statusCode = 502
      response.end(body)
      return true
    })
    expect(await errorOf(f.client.get('/api/v1/nodes'))).toMatchObject({ message: `GET /api/v1/nodes: ${expected}` })
  })

  it('never makes us wait longer than five minutes', async () => {
    await using f = await setup()
    f.api.faults.push((_seen, response) => {
      status(response, 503, '', '', 999_999)
      return true
    })
    expect(await errorOf(f.client.get('/api/v1/nodes'))).toMatchObject({ retryAfter: 300 })
  })
})

describe('no answer', () => {
  it('is an ApiUnreachableError with what to look at', async () => {
    await using f = await setup()
    await f.api.close()
    const error = await errorOf(f.client.get('/api/v1/nodes'))
    expect(error).toBeInstanceOf(ApiUnreachableError)
    expect(error).toMatchObject({ code: 'ERR_KUBERNETES_UNREACHABLE' })
    expect(String(error)).toMatch(/no answer from the API server 127\.0\.0\.1:\d+: connection refused; is it running/)
  })

  it('is given up after the bound on silence, also in the middle of a body', async () => {
    await using f = await setup({ silenceMs: 30_000 })
    for (const begin of [false, true]) {
      f.api.lasting = (_seen, response) => {
        if (begin) response.write('{"kind":')
        return true
      }
      const asked = f.api.seen.length
      const failed = errorOf(f.client.get('/api/v1/nodes'))
      await until('asked', () => f.api.seen.length > asked && f.clock.pending === 1)
      f.clock.advance(30_000)
      expect(await failed).toMatchObject({
        name: 'ApiUnreachableError',
        message: expect.stringContaining('silent for 30 s'),
      })
      expect(f.clock.pending).toBe(0)
    }
  })

  it('is given up when no connection comes about', async () => {
    await using f = await setup({ sockets: 1, connectMs: 10_000, silenceMs: 60_000 })
    f.api.lasting = () => true
    const abort = new AbortController()
    const holder = errorOf(f.client.get('/api/v1/nodes', { signal: abort.signal }))
    await until('asked', () => f.api.seen.length === 1)
    const failed = errorOf(f.client.get('/api/v1/nodes'))
    await until('queued', () => f.clock.pending === 2)
    f.clock.advance(10_000)
    expect(await failed).toMatchObject({ message: expect.stringContaining('not connected after 10 s') })
    abort.abort()
    await holder
  })

  it('ends with the signal’s reason when aborted, before, during and inside a body', async () => {
    await using f = await setup()
    f.api.lasting = (_seen, response) => {
      if (f.api.seen.length > 1) response.write('{')
      return true
    }
    const reason = new Error('enough')
    expect(await errorOf(f.client.get('/x', { signal: AbortSignal.abort(reason) }))).toBe(reason)
    for (const requests of [1, 2]) {
      const abort = new AbortController()
      const failed = errorOf(f.client.get('/x', { signal: abort.signal }))
      await until('asked', () => f.api.seen.length === requests)
      abort.abort(reason)
      expect(await failed).toBe(reason)
    }
    expect(f.clock.pending).toBe(0)
    await until('closed', () => f.api.connections === 0)
  })
})

describe('an answer that cannot be used', () => {
  it('is an ApiFormatError when it is not JSON, not a list, or too large', async () => {
    await using f = await setup({ largestAnswer: 1000 })
    f.api.faults.push(answer('{"a":'), answer('{"items":{}}'), answer(`"${'x'.repeat(2000)}"`))
    const errors = [
      await errorOf(f.client.get('/x')),
      await errorOf(all(f.client.list('/x'))),
      await errorOf(f.client.get('/x')),
    ]
    for (const error of errors) expect(error).toBeInstanceOf(ApiFormatError)
    expect(errors.map(error => (error as Error).message)).toEqual([
      "GET /x: the API server's answer is not JSON",
      "GET /x: the API server's answer is not a list",
      "GET /x: the API server's answer is larger than 1000 bytes",
    ])
  })

  it('ends a list that has no end', async () => {
    await using f = await setup()
    f.api.lasting = answer(JSON.stringify({ metadata: { resourceVersion: '1', continue: 'more' }, items: [] }))
    expect(await errorOf(all(f.client.list('/x')))).toMatchObject({ message: expect.stringContaining('1000 pages') })
  })
})

describe('a list', () => {
  it('comes in pages of one resourceVersion', async () => {
    await using f = await setup()
    for (let i = 0; i < 5; i++) f.api.put(`n${i}`)
    const pages = []
    for await (const page of f.client.list('/api/v1/nodes', { limit: 2 })) pages.push(page)
    expect(pages.map(page => page.items.length)).toEqual([2, 2, 1])
    expect(new Set(pages.map(page => page.resourceVersion)).size).toBe(1)
  })

  it('may have null in place of no items, as Go writes it', async () => {
    await using f = await setup()
    f.api.faults.push(answer('{"metadata":{"resourceVersion":"7"},"items":null}'))
    expect(await all(f.client.list('/x'))).toEqual([{ items: [], resourceVersion: '7' }])
  })
})

describe('a stream', () => {
  it('gives back its connection when the reader leaves it, and when it ends', async () => {
    await using f = await setup()
    f.api.put('a')
    const query = { watch: true, sendInitialEvents: true }
    for await (const event of f.client.stream('/api/v1/nodes', { query })) {
      expect(event).toMatchObject({ type: 'ADDED' })
      break
    }
    await until('closed', () => f.api.watchers === 0)
    expect(f.clock.pending).toBe(0)
    const rest = all(f.client.stream('/api/v1/nodes', { query }))
    await until('watching', () => f.api.watchers === 1)
    f.api.endWatches()
    expect(await rest).toHaveLength(2)
    expect(f.clock.pending).toBe(0)
  })

  it('fails when a line is too long, breaks off, or is not JSON', async () => {
    await using f = await setup({ longestLine: 100 })
    f.api.faults.push(answer(`{"a":"${'x'.repeat(200)}"}\n`), answer('{"a":1}\n{"b"'), answer('{"a":1}\nnonsense\n'))
    const messages = []
    for (let i = 0; i < 3; i++) messages.push(String(await errorOf(all(f.client.stream('/x')))))
    expect(messages[0]).toContain('a line is longer than 100 bytes')
    expect(messages[1]).toContain('ends in the middle of a line')
    expect(messages[2]).toContain('is not JSON')
  })

  it('throws the server’s refusal', async () => {
    await using f = await setup()
    f.api.compact()
    const error = await errorOf(all(f.client.stream('/api/v1/nodes', { query: { watch: true, resourceVersion: '1' } })))
    expect(error).toMatchObject({ status: 410, expired: true })
  })
})

describe('cutting bytes into lines', () => {
  it('finds the same lines however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme' })), fc.array(fc.nat(40)), (texts, cuts) => {
        const lines = texts.map(text => text.replaceAll('\n', ' ')).filter(text => text !== '')
        const bytes = Buffer.from(lines.map(line => `${line}\n`).join(''))
        const splitter = new LineSplitter(10_000)
        const found: string[] = []
        let start = 0
        for (const cut of [...cuts, bytes.length]) {
          for (const line of splitter.push(bytes.subarray(start, start + cut))) found.push(line.toString())
          start += cut
        }
        expect(found).toEqual(lines)
        expect(splitter.pending).toBe(false)
      }),
    )
  })

  it('refuses a line that is longer than the bound, also before it ends', () => {
    const splitter = new LineSplitter(10)
    expect([...splitter.push(Buffer.from('0123456789\n'))]).toHaveLength(1)
    expect([...splitter.push(Buffer.from('012345'))]).toHaveLength(0)
    expect(() => [...splitter.push(Buffer.from('678901'))]).toThrow(LineTooLongError)
  })
})
