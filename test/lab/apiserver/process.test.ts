import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ApiClient } from '../../contract/api-client.ts'
import { FELIX, felix, NODES, node } from '../../contract/fixtures.ts'
import { DEFINITIONS, TemporaryDirectory, TOKEN, TOKEN_FILE } from './fixtures.ts'

const MAIN = fileURLToPath(new URL('../../../src/lab/apiserver/main.ts', import.meta.url))

interface Ready {
  readonly pid: number
  readonly urls: readonly string[]
  readonly unix: readonly string[]
  readonly ca: string
  readonly resourceVersion: number
}

/** The API server as a process, and what it said when it was ready. */
class Process {
  readonly child: ChildProcess
  readonly ready: Ready

  private constructor(child: ChildProcess, ready: Ready) {
    this.child = child
    this.ready = ready
  }

  static async start(...flags: string[]): Promise<Process> {
    const child = spawn(process.execPath, [MAIN, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = await once(createInterface({ input: child.stdout }), 'line')
    return new Process(child, JSON.parse(line))
  }

  client(): ApiClient {
    return new ApiClient({ url: this.ready.urls[0] ?? '', ca: readFileSync(this.ready.ca, 'utf8'), token: TOKEN })
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode
    const exit = once(this.child, 'exit')
    this.child.kill(signal)
    const [code] = await exit
    return code
  }
}

describe('the API server as a process', () => {
  let directory: TemporaryDirectory
  let flags: string[]
  const started: Process[] = []

  beforeEach(() => {
    directory = new TemporaryDirectory()
    writeFileSync(directory.file('tokens'), TOKEN_FILE)
    flags = ['--token-file', directory.file('tokens'), '--tls-dir', directory.file('tls'), '--crds', DEFINITIONS]
  })
  afterEach(async () => {
    for (const child of started.splice(0)) await child.end('SIGKILL')
    directory[Symbol.dispose]()
  })

  async function start(...more: string[]): Promise<Process> {
    const made = await Process.start(...flags, ...more)
    started.push(made)
    return made
  }

  it('says where it listens and whom to trust', async () => {
    const { ready, child } = await start('--listen', '127.0.0.1:0')
    expect(ready).toMatchObject({ pid: child.pid, ca: directory.file('tls/ca.crt') })
    expect(ready.urls).toEqual([expect.stringMatching(/^https:\/\/127\.0\.0\.1:\d+$/)])
  })

  it('listens on several addresses and a unix socket at once', async () => {
    const path = directory.file('api.sock')
    const { ready } = await start('--listen', '127.0.0.1:0', '--listen', '[::1]:0', '--unix', path)
    const ca = readFileSync(ready.ca, 'utf8')
    for (const url of ready.urls) {
      using client = new ApiClient({ url, ca, token: TOKEN })
      expect((await client.get('/version')).status).toBe(200)
    }
    const { get } = await import('node:https')
    const answer = await new Promise<string>((resolve, reject) => {
      const options = {
        socketPath: path,
        path: '/healthz',
        ca,
        servername: 'localhost',
        headers: { Host: 'localhost' },
      }
      get(options, response => resolve(text(response))).once('error', reject)
    })
    expect(answer).toBe('ok')
  })

  it('keeps objects, their versions and its certificate over a restart', async () => {
    const first = await start('--data-dir', directory.file('data'))
    using before = first.client()
    await before.post(NODES, node('a'))
    const made = await before.post(FELIX, felix('default', { wireguardEnabled: true }))
    const ca = readFileSync(first.ready.ca, 'utf8')
    expect(await first.end('SIGTERM')).toBe(0)

    const second = await start('--data-dir', directory.file('data'))
    using after = second.client()
    const found = await after.get(`${FELIX}/default`)
    expect(found.body).toEqual(made.body)
    expect((await after.get(NODES)).body.items).toHaveLength(1)
    const next = await after.post(NODES, node('b'))
    expect(Number(next.body.metadata.resourceVersion)).toBeGreaterThan(Number(made.body.metadata.resourceVersion))
    expect(readFileSync(second.ready.ca, 'utf8')).toBe(ca)
  })

  it('keeps what it has answered even when it is killed', async () => {
    const first = await start('--data-dir', directory.file('data'))
    using before = first.client()
    await before.post(NODES, node('a'))
    await before.delete(`${NODES}/a`)
    await before.post(NODES, node('b'))
    await first.end('SIGKILL')

    const second = await start('--data-dir', directory.file('data'))
    using after = second.client()
    const { body } = await after.get(NODES)
    expect(body.items.map((item: { metadata: { name: string } }) => item.metadata.name)).toEqual(['b'])
  })

  it('gives 410 to a watch from before its restart, as kube-apiserver does', async () => {
    const first = await start('--data-dir', directory.file('data'))
    using before = first.client()
    const old = (await before.post(NODES, node('a'))).body.metadata.resourceVersion
    await before.patch(`${NODES}/a`, { metadata: { labels: { zone: 'a' } } })
    await first.end('SIGTERM')
    const second = await start('--data-dir', directory.file('data'))
    using after = second.client()
    using stream = await after.watch(`${NODES}?watch=1&resourceVersion=${old}`)
    expect(await stream.next()).toMatchObject({ type: 'ERROR', object: { code: 410 } })
  })

  it('ends watches in good order when it is told to stop', async () => {
    const server = await start()
    using client = server.client()
    using stream = await client.watch(`${NODES}?watch=1&resourceVersion=${server.ready.resourceVersion}`)
    const end = server.end('SIGTERM')
    expect(await stream.next()).toBeUndefined()
    expect(await end).toBe(0)
  })

  it('fails to order from its admin socket, which is its owner’s alone', async () => {
    const path = directory.file('admin.sock')
    const server = await start('--admin-socket', path)
    expect(statSync(path).mode & 0o077).toBe(0)
    using client = server.client()
    await order(path, 'set-fault', { verb: 'list', answer: { code: 503 } })
    expect((await client.get(NODES)).status).toBe(503)
    await order(path, 'lift-faults')
    expect((await client.get(NODES)).status).toBe(200)
    const state = JSON.parse(await order(path, 'state'))
    expect(state.loads).toContainEqual(expect.objectContaining({ verb: 'list', path: NODES, requests: 2 }))
  })

  it('says in one line what is wrong with its tokens', async () => {
    writeFileSync(directory.file('tokens'), 'only-a-token\n')
    const child = spawn(process.execPath, [MAIN, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] })
    const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^apiserver: token file, line 1: .*\n$/)
  })
})

function order(socketPath: string, name: string, body: object = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path: `/${name}`, method: 'POST' }, response => resolve(text(response)))
    sent.on('error', reject).end(JSON.stringify(body))
  })
}
