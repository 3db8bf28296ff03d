import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { LabError } from './errors.ts'

/** An answer on the wire. */
type Reply = { readonly value: unknown } | { readonly error: string }

/** Answers each JSON line of a connection with one JSON line, in order. */
export function serveJsonLines(socket: Socket, handle: (request: unknown) => Promise<unknown>): void {
  socket.on('error', () => socket.destroy())
  const answer = async (line: string): Promise<Reply> => {
    try {
      return { value: (await handle(JSON.parse(line))) ?? null }
    } catch (error) {
      return { error: error instanceof Error ? error.message : String(error) }
    }
  }
  let previous = Promise.resolve()
  createInterface({ input: socket }).on('line', line => {
    previous = previous.then(async () => {
      const reply = await answer(line)
      if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`)
    })
  })
}

/** Asks over a unix socket; one request at a time is answered. */
export class JsonLinesClient implements Disposable {
  readonly #socket: Socket
  readonly #name: string
  readonly #waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = []

  private constructor(socket: Socket, name: string) {
    this.#socket = socket
    this.#name = name
    createInterface({ input: socket }).on('line', line => this.#settle(line))
    socket.on('error', () => {})
    socket.on('close', () => {
      for (const { reject } of this.#waiting.splice(0))
        reject(new LabError('ERR_LAB_TRAFFIC', `${this.#name} ended before it answered`))
    })
  }

  /** @param name of the other side, for messages */
  static async connect(path: string, name: string): Promise<JsonLinesClient> {
    const socket = connect(path)
    await once(socket, 'connect')
    // An idle connection keeps nobody from ending.
    socket.unref()
    return new JsonLinesClient(socket, name)
  }

  /** @throws LabError with what the other side complains of, or when it has ended */
  async ask<T>(request: unknown): Promise<T> {
    if (this.#socket.destroyed) throw new LabError('ERR_LAB_TRAFFIC', `${this.#name} has ended`)
    this.#socket.ref()
    try {
      const answer = new Promise<unknown>((resolve, reject) => this.#waiting.push({ resolve, reject }))
      this.#socket.write(`${JSON.stringify(request)}\n`)
      // The caller knows what its request is answered with; both ends are this program.
      return (await answer) as T
    } finally {
      if (this.#waiting.length === 0) this.#socket.unref()
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  #settle(line: string): void {
    const waiting = this.#waiting.shift()
    const reply = JSON.parse(line) as Reply
    if ('error' in reply) waiting?.reject(new LabError('ERR_LAB_TRAFFIC', `${this.#name}: ${reply.error}`))
    else waiting?.resolve(reply.value)
  }
}
