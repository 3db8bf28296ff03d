import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { onNode } from '#src/lab/node-shell.ts'
import { statusOf } from '#src/lab/run.ts'
import { LabFiles } from '#src/lab/state.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit, profile } from './profile.ts'

const PODVEIL = fileURLToPath(new URL('../../../../bin/podveil', import.meta.url))

export interface AgentFlags {
  readonly kubeconfig?: string
  readonly dataplane?: string
  readonly healthPort?: number
  readonly metricsPort?: number
  readonly env?: Readonly<Record<string, string>>
  /** What it is started through, such as setpriv with its options. */
  readonly through?: readonly string[]
}

/** An agent as a person starts it on a node: its two outputs apart, and its exit status. Ended when it is disposed of. */
export class ForegroundAgent implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>
  readonly #ended: Promise<number>
  #stdout = ''
  #stderr = ''
  #status: number | undefined

  constructor(lab: Lab, node: LabNode, flags: AgentFlags = {}) {
    const files = new LabFiles(lab.name)
    const argv = [
      ...(flags.through ?? []),
      ...[PODVEIL, 'agent', '--node-name', node.name],
      ...['--kubeconfig', flags.kubeconfig ?? files.node(node.name, 'kubeconfig')],
      ...['--dataplane', flags.dataplane ?? profile.dataplane],
      ...['--state-dir', node.agent.stateDirectory],
      ...['--health-port', String(flags.healthPort ?? 9180), '--metrics-port', String(flags.metricsPort ?? 9181)],
    ]
    const [program = '', ...args] = onNode(files, node.plan, argv)
    const { PATH = '', HOME = '/' } = process.env
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH, HOME, ...flags.env } })
    this.#child.stdout.on('data', (chunk: Buffer) => {
      this.#stdout += chunk.toString()
    })
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString()
    })
    this.#ended = once(this.#child, 'close').then(([code, signal]: unknown[]) => {
      this.#status = statusOf(code as number | null, signal as NodeJS.Signals | null)
      return this.#status
    })
  }

  /** Undefined while it runs. */
  get status(): number | undefined {
    return this.#status
  }

  get stdout(): string {
    return this.#stdout
  }

  get stderr(): string {
    return this.#stderr
  }

  /** The exit status of one that ends by itself. */
  async ends(limitMs = limit(20_000)): Promise<number> {
    await waitFor(() => this.#status !== undefined, limitMs, 'the agent to end by itself')
    return this.#ended
  }

  async says(pattern: RegExp, limitMs = limit(20_000)): Promise<void> {
    const look = () => {
      if (pattern.test(this.#stdout)) return true
      throw new Error(`it says ${JSON.stringify(this.#stdout + this.#stderr)}`)
    }
    await waitFor(look, limitMs, `the agent to say ${pattern}`)
  }

  /** Lines of its log that are warnings or worse. */
  get complaints(): string[] {
    const lines = this.#stdout.split('\n').filter(line => /"level":[456]0/.test(line))
    return lines.map(line => (JSON.parse(line) as { msg: string }).msg)
  }

  /** @returns its exit status */
  async terminate(): Promise<number> {
    this.#child.kill('SIGTERM')
    return await this.#ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#status === undefined) this.#child.kill('SIGKILL')
    await this.#ended
  }
}
