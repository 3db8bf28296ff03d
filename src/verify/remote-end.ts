import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import type { EndReply, EndRequest, Listening, Sent, Tally } from './protocol.ts'
import type { Start } from './via.ts'

/** Milliseconds that an end may take to answer, its start included: an image may have to be fetched first. */
const PATIENCE = 60_000

export class EndError extends Error {
  override readonly name = 'EndError'
  readonly code = 'ERR_VERIFY_END'
}

/** `podveil verify-end` on a node, at the other end of a pipe. */
export class RemoteEnd implements AsyncDisposable {
  readonly #node: string
  readonly #hint: string
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>
  readonly #lines: AsyncIterator<string>
  #stderr = ''

  constructor(node: string, { argv, hint }: Start) {
    const [program = '', ...args] = argv
    this.#node = node
    this.#hint = hint
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#stderr = `${this.#stderr}${chunk.toString()}`.slice(-4_000)
    })
    this.#child.on('error', (error: NodeJS.ErrnoException) => {
      this.#stderr = error.code === 'ENOENT' ? `${error.path ?? 'the program'} is not installed here` : error.message
    })
    // It has ended: what is missing is the answer.
    this.#child.stdin.on('error', () => {})
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  listen(request: Omit<EndRequest & { op: 'listen' }, 'op'>): Promise<Listening> {
    return this.#ask<Listening>({ op: 'listen', ...request })
  }

  send(request: Omit<EndRequest & { op: 'send' }, 'op'>): Promise<Sent> {
    return this.#ask<Sent>({ op: 'send', ...request })
  }

  tally(): Promise<Tally> {
    return this.#ask<Tally>({ op: 'tally' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // It may outlive the end of its input, see runEnd.
    this.#child.stdin.end(`${JSON.stringify({ op: 'end' } satisfies EndRequest)}\n`)
    if (this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined) return
    const late = setTimeout(() => this.#child.kill('SIGTERM'), 5_000)
    await once(this.#child, 'close')
    clearTimeout(late)
  }

  async #ask<T>(request: EndRequest): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`)
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(this.#failure(`has not answered for ${PATIENCE / 1000} s`)), PATIENCE)
    try {
      const { value: line, done } = await Promise.race([this.#lines.next(), late])
      if (done) throw this.#failure('ended before it answered')
      const reply = JSON.parse(line) as EndReply
      if ('error' in reply) throw new EndError(`on ${this.#node}: ${reply.error}`)
      // Both ends are this program.
      return reply.value as T
    } finally {
      clearTimeout(timer)
    }
  }

  #failure(what: string): EndError {
    const said = this.#stderr.trim().split('\n').at(-1)
    return new EndError(`podveil verify-end on ${this.#node} ${what}${said ? `: ${said}` : ''}; ${this.#hint}`)
  }
}
