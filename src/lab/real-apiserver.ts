import { existsSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { familyOf } from '#wg/ip.ts'
import { type ApiAccess, LabApi } from './api.ts'
import type { ControlPlane } from './control-plane.ts'
import { AGENT_MANIFESTS, DEFAULT_SERVICE_ACCOUNT, issueAgentTokens } from './kube-apiserver/agents.ts'
import { applyObjects, readManifests } from './kube-apiserver/apply.ts'
import { needControlPlane } from './kube-apiserver/programs.ts'
import { isReady } from './kube-apiserver/readiness.ts'
import { KubeApiserver } from './kube-apiserver/server.ts'
import { inNamespace } from './namespaces.ts'
import { nodeProgram } from './node-program.ts'
import { API_PORT, type LabPlan } from './plan.ts'
import { liveProcess, type ProcessRecord, startDetached, stopProcess } from './processes.ts'
import { type LabFiles, writeWhole } from './state.ts'
import { waitUntil } from './wait.ts'

const RELAY = fileURLToPath(new URL('./relay.ts', import.meta.url))
const CRDS = fileURLToPath(new URL('../../manifests/crds', import.meta.url))
const SERVER_NAME = 'localhost'

/**
 * kube-apiserver and etcd as they are released. What is in `manifests/` is applied to it, and each node's agent has a token of its
 * own ServiceAccount, bound to a Pod on its Node, as on a real cluster: RBAC and admission hold in the lab as they do there.
 * PODVEIL_LAB_APISERVER_FLAGS are further flags of kube-apiserver, with spaces between them.
 */
export class RealControlPlane implements ControlPlane {
  readonly kind = 'real'
  readonly #plan: LabPlan
  readonly #files: LabFiles
  readonly #server: KubeApiserver
  readonly #bare: boolean

  /** @param bare nothing is applied, and agents have no tokens yet @throws LabError when this machine has no kube-apiserver */
  constructor(plan: LabPlan, files: LabFiles, bare = false) {
    this.#bare = bare
    this.#plan = plan
    this.#files = files
    const [first = ''] = plan.switchAddresses
    this.#server = new KubeApiserver({
      directory: files.apiserver,
      // One listener: for IPv6 it takes IPv4 as well.
      bindAddress: plan.switchAddresses.some(address => familyOf(address) === 6) ? '::' : '0.0.0.0',
      port: API_PORT,
      advertiseAddress: first,
      names: plan.switchAddresses,
      tokenFile: files.apiTokens,
      files: { record: role => files.process(role), log: role => files.log(role) },
      prefix: inNamespace(plan.switchNamespace, []),
      flags: (process.env.PODVEIL_LAB_APISERVER_FLAGS ?? '').split(' ').filter(flag => flag !== ''),
      programs: needControlPlane(),
    })
  }

  get process(): ProcessRecord | undefined {
    return this.#server.process
  }

  async start(): Promise<void> {
    if (this.process) return
    await this.#startRelay()
    await this.#withApi(async access => {
      await this.#server.start(() => isReady(access()))
      if (existsSync(this.#seeded)) return
      const api = new LabApi(access())
      await applyObjects(api, [DEFAULT_SERVICE_ACCOUNT])
      if (!this.#bare) await this.#install(api)
      writeWhole(this.#seeded, '')
    })
  }

  /** As an operator and the kubelets do. */
  async #install(api: LabApi): Promise<void> {
    await applyObjects(api, [...readManifests(CRDS), ...AGENT_MANIFESTS.flatMap(readManifests)])
    const tokens = JSON.parse(readFileSync(this.#files.tokens, 'utf8')) as { nodes: Record<string, string> }
    const nodes = await issueAgentTokens(api, Object.keys(tokens.nodes))
    writeWhole(this.#files.tokens, JSON.stringify({ ...tokens, nodes }))
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#server.stop(signal)
  }

  /** Its presence says that the server holds what a lab starts with: after a restart it is not put there again. */
  get #seeded(): string {
    return `${this.#files.apiserver}/seeded`
  }

  /** kube-apiserver has no unix socket, so a relay in its namespace gives it one. It stays while the server is stopped. */
  async #startRelay(): Promise<void> {
    const record = this.#files.process('apiserver-relay')
    if (liveProcess(record)) return
    const socket = this.#files.apiSocket
    rmSync(socket, { force: true })
    const ready = `${this.#files.apiserver}/relay.json`
    rmSync(ready, { force: true })
    await startDetached(
      inNamespace(this.#plan.switchNamespace, [nodeProgram(), RELAY, socket, `127.0.0.1:${API_PORT}`, ready]),
      { recordFile: record, logFile: this.#files.log('apiserver-relay') },
    )
    await waitUntil(() => existsSync(ready), 10_000, 'the relay to the API server').catch(async error => {
      await stopProcess(record)
      throw error
    })
  }

  /** The administrator's access before the lab's own relay to the machine is there: a port of this process, for as long as `use` takes. */
  async #withApi(use: (access: () => ApiAccess) => Promise<void>): Promise<void> {
    const bridge = createServer(client => {
      const server = connect(this.#files.apiSocket)
      const end = () => {
        client.destroy()
        server.destroy()
      }
      for (const socket of [client, server]) socket.on('error', end).on('close', end)
      client.pipe(server).pipe(client)
    })
    await new Promise<void>(resolve => bridge.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = bridge.address() as AddressInfo
      const { admin: token } = JSON.parse(readFileSync(this.#files.tokens, 'utf8')) as { admin: string }
      // The certificate authority is there only after the server's first start.
      const ca = () => readFileSync(this.#files.apiCa, 'utf8')
      await use(() => ({ host: '127.0.0.1', port, serverName: SERVER_NAME, ca: ca(), token }))
    } finally {
      bridge.close()
    }
  }
}
