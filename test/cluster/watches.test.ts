import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ApiClient } from '#src/cluster/api-client.ts'
import type { Credentials } from '#src/cluster/credentials.ts'
import { inClusterCredentials } from '#src/cluster/in-cluster.ts'
import { kubeconfigCredentials } from '#src/cluster/kubeconfig.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { Reflector } from '#src/cluster/reflector.ts'
import { AGENT_MANIFESTS, AGENT_NAMESPACE, issueAgentToken } from '#src/lab/kube-apiserver/agents.ts'
import { applyObjects, readManifests } from '#src/lab/kube-apiserver/apply.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import { waitFor } from '../lab/harness/wait-for.ts'
import { type RecordingLogger, recordingLogger } from '../unit/cluster/support/recording-logger.ts'
import { Scratch } from '../unit/cluster/support/scratch.ts'
import { NODES, nodeObject } from './harness/agents.ts'
import { ClientAuthority } from './harness/client-authority.ts'
import { noRealApi, RealApi } from './harness/real-api.ts'
import { SlowRelay } from './harness/slow-relay.ts'

const LIMIT_MS = 90_000
/** A bound on silence for the tests; the agent's own is longer. */
const SILENCE_MS = 3_000
const BIG_NODE_BYTES = 40_000
/** Bytes a second: a record of TLS, 16 kB, is there within half of the bound on silence, and three such Nodes are in four times of it. */
const SLOW = 12_000

describe.skipIf(noRealApi)(`an agent’s watch on kube-apiserver${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  let server: RealApi
  let volume: Scratch
  let relay: SlowRelay
  let follower: Follower

  /** As a kubelet mounts it, and rotates it. */
  const giveToken = (token: string): Promise<unknown> => volume.write('token', token)
  const giveAuthority = (): Promise<unknown> => volume.write('ca.crt', server.ca)

  beforeEach(async () => {
    volume = await Scratch.make()
    server = await startServer()
    await giveAuthority()
    await giveToken(await issueAgentToken(server.client, 'node-1'))
    relay = await SlowRelay.start(server.port)
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(relay.port) }
    follower = new Follower(inClusterCredentials({ env, directory: volume.path }))
    await follower.sees(['node-1'])
  })
  afterEach(async () => {
    await follower[Symbol.asyncDispose]()
    await relay[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
    await volume[Symbol.asyncDispose]()
  })

  const makeNode = (name: string, index: number): Promise<unknown> =>
    server.client.create(NODES, nodeObject(name, index))

  /** A token is good for as long as its Pod is there; what is open stays open, so the server is started anew. */
  const shutOut = async (): Promise<void> => {
    const pod = `/api/v1/namespaces/${AGENT_NAMESPACE}/pods/podveil-agent-node-1`
    await server.client.must('DELETE', `${pod}?gracePeriodSeconds=0`)
    await server.restart('SIGKILL')
    await follower.complains(/401|unauthori[sz]ed/i)
  }

  test('tells what changes', async () => {
    await makeNode('node-2', 2)
    await follower.sees(['node-1', 'node-2'])
    await server.client.delete(`${NODES}/node-1`)
    await follower.sees(['node-2'])
  })

  test('keeps what it has while the server is killed, and has what changed when it is back', async () => {
    await server.stop('SIGKILL')
    await follower.complains(/trying again/)
    await follower.sees(['node-1'])
    await server.restart()
    await makeNode('node-2', 2)
    await follower.sees(['node-1', 'node-2'])
  })

  test('lists anew when history was compacted while it was shut out (410)', async () => {
    await shutOut()
    await makeNode('node-2', 2)
    await server.client.delete(`${NODES}/node-1`)
    await server.compact()
    const lists = follower.lists
    await giveToken(await issueAgentToken(server.client, 'node-2'))
    await follower.sees(['node-2'])
    expect(follower.lists).toBeGreaterThan(lists)
  })

  test('notices a server that is silent without an end of its connections, and is current soon after it speaks again', async () => {
    process.kill(server.pid, 'SIGSTOP')
    const stopped = performance.now()
    await follower.complains(/silent|no answer/)
    expect(performance.now() - stopped).toBeLessThan(SILENCE_MS * 3)
    await follower.sees(['node-1'])
    process.kill(server.pid, 'SIGCONT')
    await makeNode('node-2', 2)
    await follower.sees(['node-1', 'node-2'])
  })

  test('waits for a watch that is slow for as long as something comes, and complains when nothing does any more', async () => {
    relay.pace = SLOW
    const note = 'x'.repeat(BIG_NODE_BYTES)
    for (const [index, name] of ['node-2', 'node-3', 'node-4'].entries()) {
      const { metadata, ...node } = nodeObject(name, index + 2)
      await server.client.create(NODES, {
        ...node,
        metadata: { ...(metadata as object), annotations: { 'example.com/note': note } },
      })
    }
    await follower.sees(['node-1', 'node-2', 'node-3', 'node-4'])
    expect(follower.complaints(/^warn/)).toBe(0)
    relay.pace = 0
    await follower.complains(/silent|no answer/)
    await server.client.delete(`${NODES}/node-2`)
    await follower.sees(['node-1', 'node-2', 'node-3', 'node-4'])
    relay.pace = Number.POSITIVE_INFINITY
    await follower.sees(['node-1', 'node-3', 'node-4'])
  })

  test('does not believe a certificate of another authority, and goes on as soon as that one’s is on disk', async () => {
    await server.replaceAuthority()
    await follower.complains(/certificate is not signed by the CA that is configured/)
    await makeNode('node-2', 2)
    await follower.complains(/trying again/, 2)
    await follower.sees(['node-1'])
    await giveAuthority()
    await follower.sees(['node-1', 'node-2'])
  })

  test('goes on with the token that is on disk when the one before is no longer good', async () => {
    await shutOut()
    await follower.sees(['node-1'])
    await giveToken(await issueAgentToken(server.client, 'node-1'))
    await makeNode('node-2', 2)
    await follower.sees(['node-1', 'node-2'])
  })
})

describe.skipIf(noRealApi)(`an agent that has a client certificate${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  test('goes on with the certificate that is on disk when the server believes another authority than before', async () => {
    await using disk = await Scratch.make()
    const first = ClientAuthority.make(disk)
    await using server = await startServer([`--client-ca-file=${first.believed}`])
    const config = {
      'current-context': 'agent',
      clusters: [{ name: 'agent', cluster: { server: server.url, 'certificate-authority': 'ca.crt' } }],
      users: [{ name: 'agent', user: { 'client-certificate': 'client.crt', 'client-key': 'client.key' } }],
      contexts: [{ name: 'agent', context: { cluster: 'agent', user: 'agent' } }],
    }
    await disk.write('ca.crt', server.ca)
    const file = await disk.write('kubeconfig', JSON.stringify(config))
    await using follower = new Follower(await kubeconfigCredentials(file, { env: {} }))
    await follower.sees(['node-1'])

    const next = ClientAuthority.make(disk)
    await server.restart()
    await server.client.create(NODES, nodeObject('node-2', 2))
    await follower.complains(/401|unauthori[sz]ed/i, 2)
    await follower.sees(['node-1'])
    next.give()
    await follower.sees(['node-1', 'node-2'])
  })
})

/** A server with what an operator applies, and one Node. */
async function startServer(flags: readonly string[] = []): Promise<RealApi> {
  const server = await RealApi.start({ flags })
  await applyObjects(server.client, AGENT_MANIFESTS.flatMap(readManifests))
  await server.client.create(NODES, nodeObject('node-1', 1))
  return server
}

/** A reflector of Nodes, as an agent has it. */
class Follower implements AsyncDisposable {
  readonly #names = new Set<string>()
  readonly #logger: RecordingLogger = recordingLogger()
  readonly #client: ApiClient
  readonly #reflector: Reflector<NodeRecord>

  constructor(credentials: Credentials) {
    this.#client = new ApiClient({ credentials, connectMs: SILENCE_MS, silenceMs: SILENCE_MS })
    this.#reflector = new Reflector<NodeRecord>({
      client: this.#client,
      path: NODES,
      silenceMs: SILENCE_MS,
      project: projectNode,
      logger: this.#logger,
      handler: {
        replaced: items => {
          this.#names.clear()
          for (const { name } of items.values()) this.#names.add(name)
        },
        upserted: ({ name }) => this.#names.add(name),
        deleted: name => this.#names.delete(name),
      },
    })
    this.#reflector.start()
  }

  async sees(names: readonly string[]): Promise<void> {
    const seen = (): string => [...this.#names].sort().join(' ')
    await waitFor(() => seen() === names.join(' '), LIMIT_MS, `the Nodes ${names.join(' ')}`)
  }

  /** Times that it has asked for the whole collection. */
  get lists(): number {
    return this.#reflector.state.lists
  }

  complaints(what: RegExp): number {
    return this.#logger.lines.filter(line => what.test(line)).length
  }

  /** Says so in its log. */
  async complains(what: RegExp, times = 1): Promise<void> {
    await waitFor(() => this.complaints(what) >= times, LIMIT_MS, `${times} lines that say ${what}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reflector.stop()
    this.#client.close()
  }
}
