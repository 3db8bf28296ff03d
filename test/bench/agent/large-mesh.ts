import { closeSync, openSync, readFileSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ApiClient } from '#src/cluster/api-client.ts'
import { MESH_NODES, meshNodeSpec } from '#src/cluster/mesh-node.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { adminAccess, serviceEnvironment } from '#src/lab/access.ts'
import { LabAgent } from '#src/lab/agent.ts'
import { Lab, type LabNode } from '#src/lab/lab.ts'
import { nodeProgram } from '#src/lab/node-program.ts'
import { LabFiles } from '#src/lab/state.ts'
import { waitUntil } from '#src/lab/wait.ts'
import type { PeerSource } from '#src/mesh/peer-source.ts'
import { bundledProgram } from './bundle.ts'
import { descriptionOf, largeNode, newKey, placeOf } from './node-object.ts'
import type { ProbeReading } from './probe-reading.ts'
import { neighbours, type Usage, usageOf } from './process.ts'

const NODES = '/api/v1/nodes'
const LIMIT_MS = 600_000
const WRITERS = 8
const DEVICE = 'wireguard.cali'
/** From the making of a Node until its agent says anything on it. */
const UNTIL_IT_SPEAKS_MS = 5_000
const MESH_TABLE = 1

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

export interface StartFigures {
  /** From the start of the process to /readyz, when all that is planned is in the kernel and the own key is published. */
  readonly readyMs: number
  readonly agent: Usage
  /** Seconds of wireguard-go's processor time; NaN in the kernel. */
  readonly deviceCpu: number
  readonly probe: ProbeReading
  /** From the API server. */
  readonly apiBytes: number
}

/**
 * One real agent, as the image has it, in a lab of one node, whose API server (a process of its own) tells it of many more nodes. Those are objects alone:
 * nobody answers for them. Dataplane as the tier has it.
 */
export class LargeMesh implements AsyncDisposable {
  readonly nodes: number
  readonly client: ApiClient
  readonly #lab: Lab
  readonly #files: LabFiles
  readonly #node: LabNode
  #agent: LabAgent | undefined
  #probes = 0
  readonly #replaced: { readonly index: number; readonly speaksAt: number }[] = []

  private constructor(nodes: number, lab: Lab) {
    this.nodes = nodes
    this.#lab = lab
    this.#files = new LabFiles(lab.name)
    const [node] = lab.nodes
    if (!node) throw new Error(`lab ${lab.name} has no node`)
    this.#node = node
    const { host, port, serverName, ca, token } = adminAccess(this.#files)
    this.client = new ApiClient({
      credentials: {
        server: new URL(`https://${host}:${port}`),
        proxy: undefined,
        access: async () => ({ headers: { authorization: `Bearer ${token}` }, tls: { ca, servername: serverName } }),
        refused() {},
      },
    })
  }

  /** @param nodes in all, the agent's own among them; the others describe themselves, so that the agent watches their metadata */
  static async make(nodes: number): Promise<LargeMesh> {
    const mesh = await LargeMesh.undescribed(nodes)
    try {
      await mesh.describeAll()
      return mesh
    } catch (error) {
      await mesh[Symbol.asyncDispose]()
      throw error
    }
  }

  /** One whose nodes do not describe themselves: the agent watches them whole. */
  static async undescribed(nodes: number): Promise<LargeMesh> {
    const dataplane = process.env.PODVEIL_TIER === 'kernel' ? 'kernel' : 'userspace'
    const lab = await Lab.up({
      name: `bench-${process.pid}-${nodes}`,
      nodes: 1,
      families: '4',
      agents: false,
      dataplane,
    })
    const mesh = new LargeMesh(nodes, lab)
    try {
      await lab.setEncryption(true)
      await mesh.inParallel(nodes - 1, index => mesh.client.create(NODES, largeNode(index)))
      return mesh
    } catch (error) {
      await mesh[Symbol.asyncDispose]()
      throw error
    }
  }

  /**
   * @param logLevel `debug` has a line for each change of the kernel
   * @param profile directory for a profile of its processor time
   * @param resolution of the probe of its event loop, milliseconds: coarse where what it costs is measured
   */
  async startAgent({
    logLevel = 'info',
    profile,
    resolution = 5,
  }: {
    logLevel?: string
    profile?: string
    resolution?: number
  } = {}): Promise<StartFigures> {
    const { spec, plan } = this.#lab
    const agentCommand = [
      ...[await bundledProgram(), 'agent'],
      ...['--node-name', '{node}', '--dataplane', spec.dataplane, '--log-level', logLevel],
      ...['--state-dir', this.#files.node(this.#node.name, 'state')],
    ]
    const agent = new LabAgent({ ...spec, agentCommand }, this.#node.plan, this.#files, serviceEnvironment(plan))
    this.#agent = agent
    this.#probes = 0
    for (const file of [this.#probeFile, `${this.#probeFile}.quiet`]) rmSync(file, { force: true })
    const options = [
      `--import ${script('./probe.mjs')}`,
      ...(profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]),
      process.env.BENCH_NODE_OPTIONS ?? '',
    ]
    const watch = this.#node.exec([nodeProgram(), script('./ready.ts'), '9180'], { timeoutMs: LIMIT_MS })
    const started = performance.timeOrigin + performance.now()
    const environment = {
      NODE_OPTIONS: options.join(' '),
      BENCH_PROBE_FILE: this.#probeFile,
      BENCH_PROBE_RESOLUTION: String(resolution),
      PODVEIL_NODE: nodeProgram(),
    }
    await agent.start(environment)
    let isOver = false
    const answer = watch.finally(() => {
      isOver = true
    })
    // An option that Node.js refuses ends it at once.
    await waitUntil(() => isOver || agent.pid === undefined, LIMIT_MS, 'the agent to be ready')
    if (!isOver) throw new Error(`the agent has ended: ${agent.logs().slice(-2_000)}`)
    const { status, stdout, stderr } = await answer
    if (status !== 0) throw new Error(`the agent did not become ready: ${stderr}\n${agent.logs().slice(-2_000)}`)
    return {
      readyMs: Number(stdout) - started,
      agent: usageOf(this.pid),
      deviceCpu: this.deviceCpu,
      probe: await this.probe(),
      apiBytes: metric(await this.metrics(), 'podveil_api_received_bytes_total'),
    }
  }

  /** Its kernel keeps what it has. */
  async stopAgent(): Promise<void> {
    await this.#agent?.kill('SIGTERM')
  }

  get pid(): number {
    const pid = this.#agent?.pid
    if (pid === undefined) throw new Error(`the agent does not run: ${this.#agent?.logs().slice(-2_000)}`)
    return pid
  }

  get deviceCpu(): number {
    const [process] = neighbours(this.pid, 'wireguard-go')
    return process === undefined ? Number.NaN : usageOf(process).cpu
  }

  /** What the agent has logged from here on: called again and again, so not the whole of it. */
  followLog(): () => string {
    const file = this.#agent?.logFile ?? ''
    const from = statSync(file).size
    return () => {
      const length = statSync(file).size - from
      const bytes = Buffer.alloc(length)
      const descriptor = openSync(file, 'r')
      try {
        return bytes.toString('utf8', 0, readSync(descriptor, bytes, 0, length, from))
      } finally {
        closeSync(descriptor)
      }
    }
  }

  metrics(): Promise<string> {
    if (!this.#agent) throw new Error('there is no agent')
    return this.#agent.metrics()
  }

  /**
   * What has happened in the agent since this was last asked.
   * @param collected with the heap as it is without garbage
   * @param quiet from here on nothing looks at its event loop: the timer of that is most of what an agent at rest is woken for
   */
  async probe({ collected = false, quiet = false } = {}): Promise<ProbeReading> {
    const wanted = ++this.#probes
    for (const [mark, isSet] of Object.entries({ collect: collected, quiet })) {
      if (isSet) writeFileSync(`${this.#probeFile}.${mark}`, '')
      else rmSync(`${this.#probeFile}.${mark}`, { force: true })
    }
    process.kill(this.pid, 'SIGUSR2')
    return await waitUntil(
      () => {
        const reading = JSON.parse(readFileSync(this.#probeFile, 'utf8')) as ProbeReading
        return reading.count >= wanted && reading
      },
      30_000,
      'the probe in the agent',
    )
  }

  /** Peers on the device, by the kernel's own word. */
  async peers(): Promise<number> {
    const { stdout } = await this.#node.exec(['wg', 'show', DEVICE, 'peers'])
    return stdout.split('\n').length - 1
  }

  /**
   * Has every pod CIDR lead into the tunnel, as it would when all peers had proven themselves; an agent that starts then takes every
   * pair for an encrypted one.
   */
  async steerAll(): Promise<void> {
    const words = (index: number): string =>
      `route replace ${placeOf(index).podCidr} dev ${DEVICE} table ${MESH_TABLE} proto 80 scope link\n`
    const input = Array.from({ length: this.nodes - 1 }, (_, index) => words(index)).join('')
    const { status, stderr } = await this.#node.exec(['ip', '-batch', '-'], { input })
    if (status !== 0) throw new Error(stderr)
  }

  /** Calls with 0 to `count` - 1, some at a time. */
  async inParallel(count: number, call: (index: number) => Promise<unknown>): Promise<void> {
    let next = 0
    const writer = async (): Promise<void> => {
      while (next < count) await call(next++)
    }
    await Promise.all(Array.from({ length: WRITERS }, writer))
  }

  patchNode(index: number, patch: unknown, subresource = ''): Promise<unknown> {
    return this.client.mergePatch(`${NODES}/${placeOf(index).name}${subresource}`, patch)
  }

  describeAll(): Promise<void> {
    return this.inParallel(this.nodes - 1, index => this.patchNode(index, descriptionOf(index)))
  }

  /** One for each of the other nodes, as its agent would write it. */
  async writeMeshNodes(): Promise<void> {
    const [apiVersion, kind] = ['podveil.io/v1alpha1', 'MeshNode']
    await this.inParallel(this.nodes - 1, async index => {
      const { name } = placeOf(index)
      const node = projectNode(await this.client.get(`${NODES}/${name}`))
      if (!node) throw new Error(`there is no Node ${name}`)
      await this.client.create(MESH_NODES, { apiVersion, kind, metadata: { name }, spec: meshNodeSpec(node) })
    })
  }

  patchMeshNode(index: number, patch: unknown): Promise<unknown> {
    return this.client.mergePatch(`${MESH_NODES}/${placeOf(index).name}`, patch)
  }

  async setPeerSource(peerSource: PeerSource): Promise<void> {
    const path = '/apis/podveil.io/v1alpha1/podveilconfigurations'
    const { status } = await this.#lab.client.request('GET', `${path}/default`)
    const spec = { peerSource }
    if (status !== 404) await this.client.mergePatch(`${path}/default`, { spec })
    else {
      const [apiVersion, kind] = ['podveil.io/v1alpha1', 'PodveilConfiguration']
      await this.client.create(path, { apiVersion, kind, metadata: { name: 'default' }, spec })
    }
  }

  /** As when a machine goes and another one takes its place, whose agent has something to say a while later. */
  async replaceNode(index: number): Promise<void> {
    await this.#lab.client.delete(`${NODES}/${placeOf(index).name}`)
    await this.client.create(NODES, largeNode(index, newKey()))
    const now = performance.now()
    this.#replaced.push({ index, speaksAt: now + UNTIL_IT_SPEAKS_MS })
    while (this.#replaced[0] && this.#replaced[0].speaksAt <= now) {
      const spoken = this.#replaced.shift()
      if (spoken) await this.patchNode(spoken.index, descriptionOf(spoken.index))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close()
    await this.#lab.down()
  }

  get #probeFile(): string {
    return `${this.#files.root}/probe.json`
  }
}

/** A counter of an exposition, summed over its labels. */
export const metric = (text: string, name: string, labels = ''): number =>
  text
    .split('\n')
    .filter(line => (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) && line.includes(labels))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
