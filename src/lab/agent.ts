import { mkdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { JsonObject } from './apiserver/json.ts'
import { LabError } from './errors.ts'
import { type HttpAnswer, httpGet, parseHttpAnswer } from './http-get.ts'
import { onNode } from './node-shell.ts'
import type { NodePlan } from './plan.ts'
import { containerCommand, hostPath, imageEnvironment } from './pod/container.ts'
import { renderKustomization } from './pod/kustomize.ts'
import { daemonSets, type PodProcess, podProcess, withFlag } from './pod/pod.ts'
import { liveProcess, startDetached, stopProcess } from './processes.ts'
import { must } from './run.ts'
import type { LabFiles, LabSpec } from './state.ts'
import { waitUntil } from './wait.ts'

const MANIFESTS = fileURLToPath(new URL('../../manifests', import.meta.url))

/** What `command: [podveil, agent]` finds unless somebody gives another image: the program of this checkout. */
const IMAGE = process.env.PODVEIL_LAB_IMAGE ?? fileURLToPath(new URL('../../bin', import.meta.url))

const ANSWER_MS = 5_000

/**
 * wireguard-go is the agent's child and keeps its niceness. In a kernel this work would be done before any process gets
 * to run; on a busy machine its queues would overflow, and that is not the loss which a lab is there to find.
 */
const AHEAD_OF_OTHERS = ['nice', '-n', '-5']

export const AGENT = 'podveil-agent'
const HEALTH_PORT = 9180
const METRICS_PORT = 9181

/** The agent of one node, as its DaemonSet says: a process in the node's namespaces that outlives whoever started it. */
export class LabAgent {
  readonly #spec: LabSpec
  readonly #node: NodePlan
  readonly #files: LabFiles
  readonly #service: Readonly<Record<string, string>>
  /** Directory of the program `podveil` that the next start takes: the image of the Pod. */
  image = IMAGE
  /** What the next start goes by: a kustomization below `manifests`, or objects as an API server has them. */
  manifest: string | readonly JsonObject[]

  /** @param service environment that names the API server, as a kubelet sets it */
  constructor(spec: LabSpec, node: NodePlan, files: LabFiles, service: Readonly<Record<string, string>>) {
    this.#spec = spec
    this.#service = service
    this.manifest = spec.manifest
    this.#node = node
    this.#files = files
  }

  /** Undefined when it does not run. */
  get pid(): number | undefined {
    return liveProcess(this.#recordFile(AGENT))?.pid
  }

  get logFile(): string {
    return this.#files.log(`agent-${this.#node.name}`)
  }

  /** On this machine; the agent has it mounted where the manifest says. */
  get stateDirectory(): string {
    return hostPath(this.#files, this.#node, '/var/lib/podveil')
  }

  /** What it has logged since the lab was made, restarts included. */
  logs(): string {
    return readFileSync(this.logFile, 'utf8')
  }

  /**
   * Running already is fine. Returns when the process is there, not when it is ready. What the manifest has beside the
   * agent, wireguard-go in a Pod of its own, is started before it.
   * @param env more of its environment, this time only
   */
  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    if (this.pid !== undefined) return
    if (this.#spec.agentCommand) {
      const command = this.#spec.agentCommand.map(word => word.replaceAll('{node}', this.#node.name))
      const argv = onNode(this.#files, this.#node, [...AHEAD_OF_OTHERS, ...command])
      await this.#launch(AGENT, argv, { ...this.#spec.agentEnv, ...env })
      return
    }
    const pods = daemonSets(this.#objects)
    for (const [name, daemonSet] of pods)
      if (name !== AGENT && liveProcess(this.#recordFile(name)) === undefined)
        await this.#run(name, podProcess(daemonSet, this.#place(name)))
    await this.#run(AGENT, this.#process(), env)
  }

  /** Sends the signal and returns when the process has ended. What it left in the kernel stays, as does wireguard-go. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await stopProcess(this.#recordFile(AGENT), signal)
  }

  async restart(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.kill(signal)
    await this.start()
  }

  /** Returns when its readiness probe says yes. @throws LabError naming the log when it has ended, or the limit has passed */
  async ready(limitMs = 30_000): Promise<void> {
    const outcome = await waitUntil(
      async () => (this.pid === undefined ? 'ended' : (await this.http('/readyz')).status === 200 && 'ready'),
      limitMs,
      `the agent of ${this.#node.name} to be ready (${this.logFile})`,
    )
    if (outcome === 'ended')
      throw new LabError(
        'ERR_LAB_PROCESS',
        `the agent of ${this.#node.name} does not run: ${this.logs().trimEnd().split('\n').at(-1)}`,
      )
  }

  /** Arguments that run a command in its container, as `kubectl exec` does. @throws LabError when the agent does not run */
  enter(argv: readonly string[]): string[] {
    const { pid } = this
    if (pid === undefined) throw new LabError('ERR_LAB_PROCESS', `the agent of ${this.#node.name} does not run`)
    const env = Object.entries({ ...imageEnvironment(this.image), ...this.#environment(this.#process()) })
    const assignments = env.map(([name, value]) => `${name}=${value}`)
    const enter = ['nsenter', '--target', String(pid), '--mount', '--net', '--root', '--wd=/']
    return [...enter, '--', 'env', '-i', '--chdir=/', ...assignments, ...argv]
  }

  /** GET from within its node. @throws LabError when nobody answers, or not soon */
  async http(path: string, port: number = HEALTH_PORT): Promise<HttpAnswer> {
    const get = onNode(this.#files, this.#node, httpGet(port, path))
    return parseHttpAnswer(await must(get, { timeoutMs: ANSWER_MS }))
  }

  async metrics(): Promise<string> {
    const { status, body } = await this.http('/metrics', METRICS_PORT)
    if (status !== 200) throw new LabError('ERR_LAB_PROCESS', `/metrics of ${this.#node.name} answers ${status}`)
    return body
  }

  get #objects(): readonly JsonObject[] {
    return typeof this.manifest === 'string' ? rendered(this.manifest) : this.manifest
  }

  #recordFile(pod: string): string {
    return this.#files.process(`${pod}-${this.#node.name}`)
  }

  #place(pod: string): Parameters<typeof podProcess>[1] {
    const { name, addresses } = this.#node
    return {
      podName: `${pod}-${name}`,
      nodeName: name,
      address: addresses[0] ?? '',
      entrypoint: ['podveil'],
    }
  }

  /** As the manifest has it, with the flags that a lab is asked for: what an operator's own overlay would change. */
  #process(): PodProcess {
    const daemonSet = daemonSets(this.#objects).get(AGENT)
    if (!daemonSet) throw new LabError('ERR_LAB_STATE', `what is deployed has no DaemonSet ${AGENT}`)
    const process = podProcess(daemonSet, this.#place(AGENT))
    const { dataplane, agentEnv } = this.#spec
    let argv = process.argv
    if (dataplane !== 'auto') argv = withFlag(argv, '--dataplane', dataplane)
    if (agentEnv.PODVEIL_LOG_LEVEL !== undefined) argv = withFlag(argv, '--log-level', agentEnv.PODVEIL_LOG_LEVEL)
    return { ...process, argv }
  }

  #environment({ env }: PodProcess): Record<string, string> {
    return { ...this.#service, ...env, ...this.#spec.agentEnv }
  }

  async #run(pod: string, process: PodProcess, env: Readonly<Record<string, string>> = {}): Promise<void> {
    const argv = containerCommand(process, {
      files: this.#files,
      node: this.#node,
      objects: this.#objects,
      image: this.image,
      ahead: AHEAD_OF_OTHERS,
    })
    await this.#launch(pod, argv, { ...imageEnvironment(this.image), ...this.#environment(process), ...env })
  }

  async #launch(pod: string, argv: readonly string[], env: Readonly<Record<string, string>>): Promise<void> {
    mkdirSync(this.stateDirectory, { recursive: true, mode: 0o700 })
    const logFile = pod === AGENT ? this.logFile : this.#files.log(`${pod}-${this.#node.name}`)
    await startDetached(argv, { recordFile: this.#recordFile(pod), logFile, env: { ...this.#service, ...env } })
  }
}

const renders = new Map<string, readonly JsonObject[]>()

/** Objects of a kustomization below `manifests`, read once: starts of many agents would read the same. */
function rendered(manifest: string): readonly JsonObject[] {
  const known = renders.get(manifest) ?? renderKustomization(`${MANIFESTS}/${manifest}`)
  renders.set(manifest, known)
  return known
}
