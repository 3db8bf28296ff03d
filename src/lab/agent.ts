import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { LabError } from './errors.ts'
import { nodeProgram } from './node-program.ts'
import { onNode } from './node-shell.ts'
import type { NodePlan } from './plan.ts'
import { liveProcess, startDetached, stopProcess } from './processes.ts'
import { must } from './run.ts'
import type { LabFiles, LabSpec } from './state.ts'
import { waitUntil } from './wait.ts'

const PODVEIL = fileURLToPath(new URL('../../bin/podveil', import.meta.url))
const HTTP_GET = fileURLToPath(new URL('./http-get.ts', import.meta.url))

/**
 * wireguard-go is the agent's child and keeps its niceness. In a kernel this work would be done before any process gets
 * to run; on a busy machine its queues would overflow, and that is not the loss which a lab is there to find.
 */
const AHEAD_OF_OTHERS = ['nice', '-n', '-5']

const HEALTH_PORT = 9180
const METRICS_PORT = 9181

/** The agent of one node: a process in the node's namespaces that outlives whoever started it. */
export class LabAgent {
  readonly #spec: LabSpec
  readonly #node: NodePlan
  readonly #files: LabFiles
  readonly #service: Readonly<Record<string, string>>

  /** @param service environment that names the API server, as a kubelet sets it */
  constructor(spec: LabSpec, node: NodePlan, files: LabFiles, service: Readonly<Record<string, string>>) {
    this.#spec = spec
    this.#service = service
    this.#node = node
    this.#files = files
  }

  /** Undefined when it does not run. */
  get pid(): number | undefined {
    return liveProcess(this.#recordFile)?.pid
  }

  get logFile(): string {
    return this.#files.log(`agent-${this.#node.name}`)
  }

  get stateDirectory(): string {
    return this.#files.node(this.#node.name, 'state')
  }

  /** What it has logged since the lab was made, restarts included. */
  logs(): string {
    return readFileSync(this.logFile, 'utf8')
  }

  /**
   * Running already is fine. Returns when the process is there, not when it is ready.
   * @param env more of its environment, this time only
   */
  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    if (this.pid !== undefined) return
    await startDetached(onNode(this.#files, this.#node, [...AHEAD_OF_OTHERS, ...this.#command()]), {
      recordFile: this.#recordFile,
      logFile: this.logFile,
      env: { ...this.#service, ...this.#spec.agentEnv, ...env },
    })
  }

  /** Sends the signal and returns when the process has ended. What it left in the kernel stays, as does wireguard-go. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await stopProcess(this.#recordFile, signal)
  }

  async restart(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.kill(signal)
    await this.start()
  }

  /** Returns when /readyz says yes. @throws LabError naming the log when it has ended, or the limit has passed */
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

  /** GET from within its node. @throws LabError when nobody answers */
  async http(path: string, port: number = HEALTH_PORT): Promise<{ readonly status: number; readonly body: string }> {
    const url = `http://127.0.0.1:${port}${path}`
    const text = await must(onNode(this.#files, this.#node, [nodeProgram(), HTTP_GET, url]))
    return JSON.parse(text) as { status: number; body: string }
  }

  async metrics(): Promise<string> {
    const { status, body } = await this.http('/metrics', METRICS_PORT)
    if (status !== 200) throw new LabError('ERR_LAB_PROCESS', `/metrics of ${this.#node.name} answers ${status}`)
    return body
  }

  get #recordFile(): string {
    return this.#files.process(`agent-${this.#node.name}`)
  }

  #command(): readonly string[] {
    const { name } = this.#node
    if (this.#spec.agentCommand) return this.#spec.agentCommand.map(word => word.replaceAll('{node}', name))
    return [
      ...[PODVEIL, 'agent'],
      ...['--node-name', name],
      ...['--dataplane', this.#spec.dataplane],
      ...['--state-dir', this.stateDirectory],
      ...['--health-port', String(HEALTH_PORT)],
      ...['--metrics-port', String(METRICS_PORT)],
      ...['--log-level', this.#spec.agentEnv.PODVEIL_LOG_LEVEL ?? 'info'],
    ]
  }
}
