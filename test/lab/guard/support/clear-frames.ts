import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import type { Lab } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'
import { POD_SUPERNETS } from '#src/lab/plan.ts'
import { BRIDGE } from '#src/lab/topology.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit } from '../../mesh/support/profile.ts'

/** Whatever has a pod's address outermost. */
const IN_CLEAR = `(ip net ${POD_SUPERNETS[4]}) or (ip6 net ${POD_SUPERNETS[6]})`

/**
 * What tcpdump says of each pod packet that crosses the underlay in clear. The bridge's counters give the verdict; this
 * tells whoever reads it what the packets were.
 */
export class ClearFrames implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>
  #text = ''
  #said = ''

  private constructor(lab: Lab) {
    const tcpdump = ['tcpdump', '-i', BRIDGE, '-n', '-e', '-tt', '-l', '--immediate-mode', '-Z', 'root']
    const [program = '', ...args] = inNamespace(lab.plan.switchNamespace, [...tcpdump, ...IN_CLEAR.split(' ')])
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child.stdout.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString()
    })
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#said += chunk.toString()
    })
  }

  /** Returns when tcpdump listens. */
  static async start(lab: Lab): Promise<ClearFrames> {
    const frames = new ClearFrames(lab)
    await waitFor(() => frames.#said.includes('listening on'), limit(10_000), `tcpdump to listen: ${frames.#said}`)
    return frames
  }

  /** The first few. */
  get text(): string {
    return this.#text.split('\n').slice(0, 20).join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return
    this.#child.kill('SIGINT')
    await once(this.#child, 'close')
  }
}
