import type { IncomingMessage } from 'node:http'
import { get } from 'node:https'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ApiServer } from '#src/lab/apiserver/api-server.ts'
import { ApiClient } from '../../contract/api-client.ts'
import { eventually, NODES, node } from '../../contract/fixtures.ts'
import { AGENT_TOKEN, connectionTo, startApiServer, TOKEN } from './fixtures.ts'

describe('an API server that fails to order', () => {
  let server: ApiServer
  let client: ApiClient

  beforeEach(async () => {
    server = await startApiServer()
    client = new ApiClient(connectionTo(server))
  })
  afterEach(async () => {
    client[Symbol.dispose]()
    await server.close()
  })

  /** Whether the promise settles while the event loop turns for so long. */
  async function settlesWithin(milliseconds: number, promise: Promise<unknown>): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<false>(resolve => {
      timer = setTimeout(() => resolve(false), milliseconds)
    })
    const settled = promise.then(
      () => true,
      () => true,
    )
    return Promise.race([settled, late]).finally(() => clearTimeout(timer))
  }

  it('outlives a request that makes no sense', async () => {
    const answer = await new Promise<number | undefined>((resolve, reject) => {
      const options = { ca: server.ca, path: '//', headers: { Authorization: `Bearer ${TOKEN}` }, agent: false }
      get(new URL(server.url), options, response => resolve(response.resume().statusCode)).once('error', reject)
    })
    expect(answer).toBe(404)
    expect((await client.get(NODES)).status).toBe(200)
  })

  it.each([
    [500, 'InternalError'],
    [503, 'ServiceUnavailable'],
  ])('answers %i with a Status', async (code, reason) => {
    server.faults.set({ answer: { code } })
    const { status, body } = await client.get(NODES)
    expect(status).toBe(code)
    expect(body).toMatchObject({ kind: 'Status', code, reason })
  })

  it('says when to come again', async () => {
    server.faults.set({ answer: { code: 429, retryAfterSeconds: 7 } })
    const { status, headers, body } = await client.get(NODES)
    expect([status, headers['retry-after']]).toEqual([429, '7'])
    expect(body).toMatchObject({ reason: 'TooManyRequests', details: { retryAfterSeconds: 7 } })
  })

  it('fails as often as it was told, and then no more', async () => {
    server.faults.set({ answer: { code: 503 }, times: 2 })
    const codes = [await client.get(NODES), await client.get(NODES), await client.get(NODES)].map(
      ({ status }) => status,
    )
    expect(codes).toEqual([503, 503, 200])
  })

  it('fails one user, verb and path, and nobody else', async () => {
    server.faults.set({ user: 'system:node:a', verb: 'list', path: '/nodes', answer: { code: 503 } })
    using agent = new ApiClient(connectionTo(server, AGENT_TOKEN))
    expect((await agent.get(NODES)).status).toBe(503)
    expect((await agent.get('/api/v1/pods')).status).toBe(200)
    expect((await agent.get(`${NODES}/not-there`)).status).toBe(404)
    expect((await client.get(NODES)).status).toBe(200)
  })

  it('is well again when the fault is lifted', async () => {
    const fault = server.faults.set({ answer: { code: 500 } })
    server.faults.lift(fault)
    expect((await client.get(NODES)).status).toBe(200)
  })

  it('answers late', async () => {
    server.faults.set({ delayMs: 200 })
    const begun = performance.now()
    expect((await client.get(NODES)).status).toBe(200)
    expect(performance.now() - begun).toBeGreaterThan(190)
  })

  it('refuses a watch with 410 as its HTTP status', async () => {
    server.faults.set({ verb: 'watch', answer: { code: 410 } })
    const { status, body } = await client.get(`${NODES}?watch=1`)
    expect([status, body.reason]).toEqual([410, 'Expired'])
  })

  it('cuts watches in the middle, and takes them up again', async () => {
    using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${server.store.revision}`)
    server.dropWatches()
    await expect(stream.next()).rejects.toThrow()
    using again = await client.watch(`${NODES}?watch=1&resourceVersion=${server.store.revision}`)
    await client.post(NODES, node('a'))
    expect((await again.next())?.type).toBe('ADDED')
  })

  it('ends open watches with 410 in their stream', async () => {
    using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${server.store.revision}`)
    server.expireWatches()
    expect(await stream.next()).toMatchObject({ type: 'ERROR', object: { code: 410, reason: 'Expired' } })
    expect(await stream.next()).toBeUndefined()
  })

  it('forgets history without disturbing open watches', async () => {
    const from = server.store.revision
    using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${from}`)
    await client.post('/api/v1/namespaces', { metadata: { name: 'other' } })
    server.compact()
    await client.post(NODES, node('a'))
    expect((await stream.next())?.type).toBe('ADDED')
    using late = await client.watch(`${NODES}?watch=1&resourceVersion=${from}`)
    expect((await late.next())?.type).toBe('ERROR')
  })

  it('forgets by itself what is older than its history', async () => {
    await using small = await startApiServer({ historyLimit: 10 })
    using other = new ApiClient(connectionTo(small))
    const from = small.store.revision
    await other.post(NODES, node('a'))
    for (let n = 0; n < 12; n++) await other.patch(`${NODES}/a`, { metadata: { labels: { n: `${n}` } } })
    using stream = await other.watch(`${NODES}?watch=1&resourceVersion=${from}`)
    expect(await stream.next()).toMatchObject({ type: 'ERROR', object: { code: 410 } })
  })

  it('is down: nobody listens, and what was connected is cut', async () => {
    using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${server.store.revision}`)
    const { url } = server
    await server.refuse()
    await expect(stream.next()).rejects.toThrow()
    await expect(client.get(NODES)).rejects.toThrow(/ECONNREFUSED/)
    await server.accept()
    expect(server.url).toBe(url)
    expect((await client.get(NODES)).status).toBe(200)
  })

  it('hangs: requests on old connections wait, and are answered afterwards', async () => {
    await client.get(NODES)
    server.hang()
    const waiting = client.get(NODES)
    expect(await settlesWithin(300, waiting)).toBe(false)
    server.unhang()
    expect((await waiting).status).toBe(200)
  })

  it('hangs: a new connection is accepted, and not a byte comes', async () => {
    server.hang()
    const { port } = new URL(server.url)
    const socket = connect(Number(port), '127.0.0.1')
    try {
      await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
      let bytes = 0
      socket.on('data', chunk => {
        bytes += chunk.length
      })
      using fresh = new ApiClient(connectionTo(server))
      const waiting = fresh.get(NODES)
      expect(await settlesWithin(300, waiting)).toBe(false)
      expect(bytes).toBe(0)
      server.unhang()
      expect((await waiting).status).toBe(200)
    } finally {
      socket.destroy()
    }
  })

  it('hangs: watches stay open and silent, and tell afterwards what they missed', async () => {
    using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${server.store.revision}`)
    server.hang()
    server.store.put('nodes', { metadata: { name: 'a' } })
    const next = stream.next()
    expect(await settlesWithin(300, next)).toBe(false)
    server.unhang()
    expect(await next).toMatchObject({ type: 'ADDED', object: { metadata: { name: 'a' } } })
  })

  it('does not wait for a client that reads nothing, and tells it all when it reads', async () => {
    const path = `${NODES}?watch=1&resourceVersion=${server.store.revision}`
    using quick = await client.watch(path)
    const slow = await unread(server, path)
    const annotations = { filler: 'x'.repeat(200_000) }
    for (let n = 0; n < 50; n++) await client.post(NODES, { metadata: { name: `n-${n}`, annotations } })
    expect(await quick.until(({ object }) => object.metadata.name === 'n-49')).toHaveLength(50)
    const names: string[] = []
    for await (const line of createInterface({ input: slow })) {
      names.push(JSON.parse(line).object.metadata.name)
      if (names.length === 50) break
    }
    expect(names).toEqual(Array.from({ length: 50 }, (_, n) => `n-${n}`))
    slow.destroy()
  })

  it('gives up on a client that has fallen behind its history: 410, when it reads again', async () => {
    await using small = await startApiServer({ historyLimit: 10 })
    using writer = new ApiClient(connectionTo(small))
    const slow = await unread(small, `${NODES}?watch=1&resourceVersion=${small.store.revision}`)
    const annotations = { filler: 'x'.repeat(200_000) }
    for (let n = 0; n < 80; n++) await writer.post(NODES, { metadata: { name: `n-${n}`, annotations } })
    const lines: string[] = []
    for await (const line of createInterface({ input: slow })) lines.push(line)
    expect(lines.length).toBeLessThan(80)
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ type: 'ERROR', object: { code: 410 } })
  })
})

/** A watch that is open and of which nothing is read until somebody does. */
function unread(server: ApiServer, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = { ca: server.ca, agent: false, headers: { Authorization: `Bearer ${TOKEN}` } }
    get(new URL(path, server.url), options, resolve).once('error', reject)
  })
}

describe('the load that clients are', () => {
  it('is counted by user, verb and path', async () => {
    await using server = await startApiServer()
    using admin = new ApiClient(connectionTo(server))
    using agent = new ApiClient(connectionTo(server, AGENT_TOKEN))
    await admin.post(NODES, node('a'))
    server.resetLoads()
    await agent.get(`${NODES}/a`)
    await agent.get(`${NODES}/b`)
    await agent.patch(`${NODES}/a`, { metadata: { annotations: { key: 'value' } } })
    const loads = server.loads.filter(({ user }) => user === 'system:node:a')
    expect(loads.map(({ verb, path, requests }) => ({ verb, path, requests }))).toEqual([
      { verb: 'get', path: '/api/v1/nodes/{name}', requests: 2 },
      { verb: 'patch', path: '/api/v1/nodes/{name}', requests: 1 },
    ])
    expect(loads[1]?.bytesIn).toBe(JSON.stringify({ metadata: { annotations: { key: 'value' } } }).length)
    expect(loads[1]?.bytesOut).toBeGreaterThan(100)
  })

  it('counts what watches are sent', async () => {
    await using server = await startApiServer()
    using client = new ApiClient(connectionTo(server))
    using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${server.store.revision}`)
    await client.post(NODES, node('a'))
    await stream.next()
    const watch = server.loads.find(({ verb }) => verb === 'watch')
    expect(watch).toMatchObject({ path: '/api/v1/nodes', requests: 1, events: 1 })
    expect(watch?.bytesOut).toBeGreaterThan(100)
  })

  it('sees watches and connections come and go', async () => {
    await using server = await startApiServer()
    const client = new ApiClient(connectionTo(server))
    const stream = await client.watch(`${NODES}?watch=1`)
    expect(server.openWatches).toBe(1)
    stream[Symbol.dispose]()
    await eventually('the watch is closed', () => server.openWatches === 0)
    client[Symbol.dispose]()
    await eventually('the connections are closed', () => server.openConnections === 0)
  })
})
