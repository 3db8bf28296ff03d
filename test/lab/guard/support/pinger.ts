import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import type { LabPod } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'

/** Sends an echo request every so often to one address, answered or not, until it is stopped. */
export class Pinger implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<null, Readable, null>
  #text = ''

  /** @param everyMs milliseconds between two requests */
  constructor(from: Pick<LabPod, 'namespace'>, to: string, everyMs: number) {
    const ping = ['ping', '-n', '-q', '-i', String(everyMs / 1_000), to]
    const [program = '', ...args] = inNamespace(from.namespace, ping)
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] })
    this.#child.stdout.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString()
    })
  }

  /** @returns requests that were sent, and answers that were received */
  async stop(): Promise<{ readonly sent: number; readonly answered: number }> {
    await this.#end()
    const [, sent, answered] = /(\d+) packets transmitted, (\d+) received/.exec(this.#text) ?? []
    if (sent === undefined) throw new Error(`ping said nothing of what it sent: ${this.#text}`)
    return { sent: Number(sent), answered: Number(answered) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end()
  }

  async #end(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const closed = once(this.#child, 'close')
    this.#child.kill('SIGINT')
    await closed
  }
}
