import { connect, type Socket } from 'node:net'
import { constants } from 'node:os'
import { AnswerSplitter } from './answer.ts'
import { UapiError, UapiFormatError } from './errors.ts'

const { ETIMEDOUT, EPIPE, EMSGSIZE } = constants.errno

/** Nobody listens: no such socket, or one that its process has left behind. */
const ABSENT: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED'])

/** Bytes that are read at a time, into the same place each time: they may be of a private key. */
const PIECE = 65_536

export interface UapiConnectionOptions {
  readonly path: string
  /** Bytes of an answer. */
  readonly maxAnswer: number
}

/** What is being waited for. */
interface Asked {
  readonly operation: string
  readonly answer: AnswerSplitter
  /** Characters of it that have come. */
  length: number
  readonly take: (section: string) => void
  readonly resolve: (errno: number | undefined) => void
  readonly reject: (error: unknown) => void
}

/** A connection to the process of a device: one operation after the other, for as long as that process keeps it. */
export class UapiConnection {
  readonly #path: string
  readonly #maxAnswer: number
  readonly #socket: Socket
  #asked: Asked | undefined

  constructor({ path, maxAnswer }: UapiConnectionOptions) {
    this.#path = path
    this.#maxAnswer = maxAnswer
    const buffer = Buffer.alloc(PIECE)
    const callback = (length: number): boolean => {
      this.#take(buffer.toString('latin1', 0, length))
      buffer.fill(0, 0, length)
      if (!this.#asked) return true
      // What comes at once may be of thousands of peers: everything else has its turn in between.
      setImmediate(() => this.#socket.resume())
      return false
    }
    this.#socket = connect({ path, onread: { buffer, callback } })
    this.#socket.on('end', () => this.#end())
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.#fail(error))
    this.#socket.on('close', () => this.#end())
    this.#socket.resume()
  }

  get closed(): boolean {
    return this.#socket.destroyed
  }

  /**
   * A connection that failed is closed.
   * @param text one operation, with the blank line that ends it
   * @param timeout milliseconds
   * @param take is given each section of the answer as it comes (AnswerSplitter); what it throws ends the exchange
   * @returns the number that ends the answer, 0 for success; undefined when nobody listens
   * @throws UapiError; UapiFormatError for an answer that breaks off
   */
  async exchange(
    text: string,
    operation: string,
    timeout: number,
    take: (section: string) => void,
  ): Promise<number | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
    const late = `no answer within ${timeout} ms on ${this.#path}`
    const timer = setTimeout(() => this.#refuse(new UapiError(operation, ETIMEDOUT, late)), timeout)
    this.#asked = { operation, answer: new AnswerSplitter(), length: 0, take, resolve, reject }
    this.#socket.ref()
    this.#socket.write(text)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      // Who has nothing else to do may end.
      this.#socket.unref()
    }
  }

  close(): void {
    this.#socket.destroy()
  }

  #take(piece: string): void {
    const asked = this.#asked
    // Where nobody has asked, whatever that is, it must not be taken for the next answer.
    if (!asked) this.close()
    else if (asked.length + piece.length > this.#maxAnswer)
      this.#refuse(new UapiError(asked.operation, EMSGSIZE, `the answer is longer than ${this.#maxAnswer} bytes`))
    else this.#add(asked, piece)
  }

  #add(asked: Asked, piece: string): void {
    asked.length += piece.length
    const { answer, take } = asked
    try {
      for (const section of answer.push(piece)) take(section)
    } catch (error) {
      this.#refuse(error)
      return
    }
    if (answer.errno !== undefined) this.#give(answer.errno)
  }

  #give(errno: number | undefined): void {
    const asked = this.#asked
    this.#asked = undefined
    asked?.resolve(errno)
  }

  #end(): void {
    const { length = 0, operation = '' } = this.#asked ?? {}
    const silent = 'the process closed the connection without an answer'
    this.#refuse(length === 0 ? new UapiError(operation, EPIPE, silent) : new UapiFormatError('the answer ends early'))
  }

  #fail(error: NodeJS.ErrnoException): void {
    if (ABSENT.has(error.code ?? '')) this.#give(undefined)
    const detail = `cannot talk to ${this.#path}`
    const errno = Math.abs(error.errno ?? EPIPE)
    this.#refuse(new UapiError(this.#asked?.operation ?? '', errno, detail, { cause: error }))
  }

  #refuse(error: unknown): void {
    const asked = this.#asked
    this.#asked = undefined
    this.close()
    asked?.reject(error)
  }
}
