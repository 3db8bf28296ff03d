import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { ApiClient } from '#src/cluster/api-client.ts'
import { loadCredentials } from '#src/cluster/connect.ts'
import type { Credentials } from '#src/cluster/credentials.ts'
import { inClusterCredentials } from '#src/cluster/in-cluster.ts'
import { ConditionPublisher } from '#src/cluster/node-condition.ts'
import { NodeEvents } from '#src/cluster/node-events.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { Publisher } from '#src/cluster/publisher.ts'
import { Reflector } from '#src/cluster/reflector.ts'
import { ApiServer } from '#src/lab/apiserver/api-server.ts'
import { parseTokens } from '#src/lab/apiserver/tokens.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import { fastClock } from '../../unit/cluster/support/clocks.ts'
import { recordingLogger } from '../../unit/cluster/support/recording-logger.ts'
import { Scratch } from '../../unit/cluster/support/scratch.ts'
import { until } from '../../unit/cluster/support/until.ts'

const NODE = { apiVersion: 'v1', kind: 'Node', spec: { podCIDRs: ['10.244.1.0/24'] } }

const kubeconfigFor = ({ url, ca }: ApiServer): string =>
  stringify({
    'current-context': 'lab',
    clusters: [
      { name: 'lab', cluster: { server: url, 'certificate-authority-data': Buffer.from(ca).toString('base64') } },
    ],
    users: [{ name: 'lab', user: { token: 'secret' } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'lab' } }],
  })

let server: ApiServer
let scratch: Scratch
let credentials: Credentials
let client: ApiClient
/** Delays are a hundredth of what they are in earnest. */
const clock = fastClock(100)

beforeAll(async () => {
  scratch = await Scratch.make()
  server = await ApiServer.start({ tokens: parseTokens('secret,admin,1'), bookmarkMs: 50 })
  credentials = await loadCredentials(await scratch.write('kubeconfig', kubeconfigFor(server)))
  client = new ApiClient({ credentials, clock, connectMs: 500_000, silenceMs: 500_000 })
})

afterAll(async () => {
  client.close()
  await server[Symbol.asyncDispose]()
  await scratch[Symbol.asyncDispose]()
})

const createNode = (name: string) => client.create('/api/v1/nodes', { ...NODE, metadata: { name } })

const disposable = (client: ApiClient): ApiClient & Disposable =>
  Object.assign(client, { [Symbol.dispose]: () => client.close() })

/** Follows Nodes until the end of the test. */
function followNodes(from = client, pageSize = 500) {
  const reflector = new Reflector<NodeRecord>({
    client: from,
    pageSize,
    path: '/api/v1/nodes',
    project: projectNode,
    logger: recordingLogger(),
    handler: { replaced() {}, upserted() {}, deleted() {} },
    clock,
  })
  reflector.start()
  return { reflector, [Symbol.asyncDispose]: () => reflector.stop() }
}

describe('an API server over TLS', () => {
  it('lets in a kubeconfig’s user and a pod’s service account, on a verified connection', async () => {
    expect(await client.get('/api/v1/nodes')).toMatchObject({ kind: 'NodeList' })
    await scratch.write('token', 'secret\n')
    await scratch.write('ca.crt', server.ca)
    const { hostname, port } = new URL(server.url)
    const env = { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port }
    const pod = new ApiClient({ credentials: inClusterCredentials({ env, directory: scratch.path }) })
    expect(await pod.get('/api/v1/nodes')).toMatchObject({ kind: 'NodeList' })
    pod.close()
  })

  it('is not believed when another CA has signed it, and never gets the token', async () => {
    const { ca: _, ...tls } = (await credentials.access()).tls
    const untrusting = { ...credentials, access: async () => ({ headers: { authorization: 'Bearer secret' }, tls }) }
    const wary = new ApiClient({ credentials: untrusting })
    await expect(wary.get('/api/v1/nodes')).rejects.toThrow(
      'its certificate is not signed by the CA that is configured',
    )
    wary.close()
  })

  it.each<
    [string, (scratch: Scratch, server: ApiServer) => Promise<unknown>, (scratch: Scratch) => Promise<Credentials>]
  >([
    [
      'a kubeconfig',
      (scratch, server) => scratch.write('kubeconfig', kubeconfigFor(server)),
      scratch => loadCredentials(`${scratch.path}/kubeconfig`),
    ],
    [
      'a pod’s service account',
      (scratch, server) => scratch.write('ca.crt', server.ca),
      async ({ path: directory }) => {
        const { hostname, port } = new URL(server.url)
        return inClusterCredentials({
          env: { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port },
          directory,
        })
      },
    ],
  ])(
    'that comes back with another authority is believed when %s has that one, and not before',
    async (_, give, load) => {
      await using directory = await Scratch.make()
      await directory.write('token', 'secret')
      const tokens = parseTokens('secret,admin,1')
      const [first, second] = await Promise.all([ApiServer.start({ tokens }), ApiServer.start({ tokens })])
      await using _closing = {
        [Symbol.asyncDispose]: () => Promise.all([first.close(), second.close()]).then(() => {}),
      }
      // Where both are reached is one address: what is told apart is who signed.
      await give(directory, first)
      const { access, refused } = await load(directory)
      const at = (one: ApiServer): Credentials => ({ server: new URL(one.url), proxy: undefined, access, refused })
      using before = disposable(new ApiClient({ credentials: at(first) }))
      expect(await before.get('/api/v1/nodes')).toMatchObject({ kind: 'NodeList' })
      using after = disposable(new ApiClient({ credentials: at(second) }))
      await expect(after.get('/api/v1/nodes')).rejects.toThrow('not signed by the CA that is configured')
      await give(directory, second)
      expect(await after.get('/api/v1/nodes')).toMatchObject({ kind: 'NodeList' })
    },
  )

  it('refuses a wrong token in words', async () => {
    const { tls } = await credentials.access()
    const wrong = { ...credentials, access: async () => ({ headers: { authorization: 'Bearer guess' }, tls }) }
    const stranger = new ApiClient({ credentials: wrong })
    await expect(stranger.get('/api/v1/nodes')).rejects.toMatchObject({ status: 401, reason: 'Unauthorized' })
    stranger.close()
  })
})

describe('following Nodes', () => {
  it('streams the list, follows changes, and survives cut connections, 410 and a restart', async () => {
    await createNode('a')
    await using f = followNodes()
    await f.reflector.synced
    expect(f.reflector.state.mode).toBe('watch-list')
    expect(f.reflector.items.get('a')?.podCidrs).toEqual(['10.244.1.0/24'])

    server.cutConnections()
    await createNode('b')
    await until('b', () => f.reflector.items.has('b'))
    server.expireWatches()
    await createNode('c')
    await until('c', () => f.reflector.items.has('c'))
    await server.refuse()
    await until('noticed', () => f.reflector.state.phase === 'waiting')
    await server.accept()
    await createNode('d')
    await until('d', () => f.reflector.items.has('d'))
    expect([...f.reflector.items.keys()].sort()).toEqual(['a', 'b', 'c', 'd'])
  })

  it('resumes from bookmarks, so that forgotten history costs no new list', async () => {
    await using f = followNodes()
    await f.reflector.synced
    await client.mergePatch('/api/v1/nodes/b/status', { status: {} })
    const { events, lists } = f.reflector.state
    await until('two bookmarks', () => f.reflector.state.events >= events + 2)
    server.compact()
    server.dropWatches()
    await createNode('e')
    await until('e', () => f.reflector.items.has('e'))
    expect(f.reflector.state).toMatchObject({ lists, watches: 2 })
  })

  it('notices a server that hangs, and goes on when it is back', async () => {
    await using f = followNodes()
    await f.reflector.synced
    server.hang()
    await until('noticed', () => f.reflector.state.restarts > 0)
    expect(f.reflector.state.lastError).toMatch(/silent for 90 s|not connected|reset/)
    server.unhang()
    await createNode('f')
    await until('f', () => f.reflector.items.has('f'))
  })

  it('lists in pages where the server streams no lists', async () => {
    await using older = await ApiServer.start({ tokens: parseTokens('secret,admin,1'), watchList: false })
    const ca = { headers: { authorization: 'Bearer secret' }, tls: { ca: older.ca } }
    const direct = { server: new URL(older.url), proxy: undefined, access: async () => ca, refused() {} }
    const other = new ApiClient({ credentials: direct })
    for (const name of ['a', 'b', 'c']) await other.create('/api/v1/nodes', { ...NODE, metadata: { name } })
    await using f = followNodes(other, 2)
    await f.reflector.synced
    expect(f.reflector.state).toMatchObject({ mode: 'list', items: 3 })
    await f.reflector.stop()
    other.close()
  })
})

describe('publishing', () => {
  it('writes annotations, condition and Events as the server has them', async () => {
    await createNode('own')
    const logger = recordingLogger()
    const publisher = new Publisher({ client, nodeName: 'own', logger })
    publisher.setDesired(
      new Map([
        ['podveil.io/hello', '1'],
        ['podveil.io/wireguard-port', null],
      ]),
    )
    await publisher.whenPublished()
    const condition = new ConditionPublisher({ client, nodeName: 'own', logger })
    condition.set({ status: 'True', reason: 'AllPeersEncrypted', message: '3 of 3 peers' })
    const events = new NodeEvents({ client, nodeName: 'own', logger })
    const event = { type: 'Warning', reason: 'ValueRefused', message: 'no' } as const
    events.emit(event)
    await events.flush()
    events.emit(event)
    await events.flush()
    const node = async () => JSON.stringify(await client.get('/api/v1/nodes/own'))
    let text = await node()
    await until('the condition', () => {
      void node().then(now => {
        text = now
      })
      return text.includes('EncryptionReady')
    })
    expect(JSON.parse(text)).toMatchObject({ metadata: { annotations: { 'podveil.io/hello': '1' } } })
    expect(await client.get('/api/v1/namespaces/default/events')).toMatchObject({
      items: [{ reason: 'ValueRefused', count: 2, involvedObject: { name: 'own' } }],
    })
    expect(logger.lines.filter(line => !line.startsWith('debug'))).toEqual([])
    await Promise.all([publisher.stop(), condition.stop(), events.stop()])
  })
})
