import { connect, createServer, type Server, type Socket } from 'node:net'
import { monotonicMs } from './datagram.ts'
import { type FlowTarget, flowKey, STREAM_PORT, type StreamState } from './protocol.ts'

/** Words that all streams of a pod say in a second: in a larger mesh each says less, or the streams would be the load. */
const WORDS_PER_SECOND = 100
/** A stream need not say more often how it fares. */
const SHORTEST_INTERVAL_MS = 20
const RECONNECT_MS = 200

/** Echoes what long-lived connections from other pods say. */
export async function listenForStreams(addresses: readonly string[]): Promise<Server[]> {
  return Promise.all(
    addresses.map(
      host =>
        new Promise<Server>((resolve, reject) => {
          const server = createServer({ noDelay: true }, socket => {
            // The other side has the account of what broke.
            socket.on('error', () => socket.destroy())
            socket.pipe(socket)
          })
          server.on('error', reject)
          server.listen(STREAM_PORT, host, () => resolve(server))
        }),
    ),
  )
}

/** One long-lived TCP connection: numbered words go out steadily, and each must come back, in order. */
export class Stream {
  readonly #key: string
  readonly #target: FlowTarget
  readonly #intervalMs: number
  readonly #resets: string[] = []
  #socket: Socket | undefined
  #timer: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #echoed = 0
  #garbled = 0
  #next = 0
  #expected = 0
  #waitingSince = 0
  #longestStallMs = 0
  #partial = Buffer.alloc(0)
  #stopped = false

  /** @param among how many streams this pod holds */
  constructor(pod: number, target: FlowTarget, among: number) {
    this.#intervalMs = Math.max(SHORTEST_INTERVAL_MS, (1000 * among) / WORDS_PER_SECOND)
    this.#key = flowKey({ source: pod, destination: target.pod, family: target.family })
    this.#target = target
    this.#connect()
  }

  state(): StreamState {
    this.#noteStall()
    return {
      key: this.#key,
      echoed: this.#echoed,
      longestStallMs: this.#longestStallMs,
      resets: this.#resets,
      garbled: this.#garbled,
    }
  }

  stop(): void {
    this.#noteStall()
    this.#stopped = true
    clearInterval(this.#timer)
    clearTimeout(this.#retry)
    this.#socket?.destroy()
  }

  #connect(): void {
    this.#next = this.#expected = 0
    this.#partial = Buffer.alloc(0)
    if (this.#waitingSince === 0) this.#waitingSince = monotonicMs()
    const socket = connect({ host: this.#target.address, port: STREAM_PORT, noDelay: true })
    this.#socket = socket
    socket.on('connect', () => {
      this.#timer = setInterval(() => this.#say(socket), this.#intervalMs)
    })
    socket.on('data', (bytes: Buffer) => this.#hear(bytes))
    let why = 'closed by the other side'
    socket.on('error', error => {
      why = error.message
    })
    socket.on('close', () => {
      clearInterval(this.#timer)
      if (this.#stopped) return
      this.#resets.push(why)
      this.#retry = setTimeout(() => this.#connect(), RECONNECT_MS)
    })
  }

  #say(socket: Socket): void {
    const word = Buffer.alloc(4)
    word.writeUInt32BE(this.#next++)
    if (this.#waitingSince === 0) this.#waitingSince = monotonicMs()
    socket.write(word)
  }

  #hear(bytes: Buffer): void {
    this.#noteStall()
    this.#partial = Buffer.concat([this.#partial, bytes])
    while (this.#partial.length >= 4) {
      if (this.#partial.readUInt32BE(0) === this.#expected) this.#echoed++
      else this.#garbled++
      this.#expected++
      this.#partial = this.#partial.subarray(4)
    }
    this.#waitingSince = this.#expected < this.#next ? monotonicMs() : 0
  }

  #noteStall(): void {
    if (this.#waitingSince === 0 || this.#stopped) return
    this.#longestStallMs = Math.max(this.#longestStallMs, monotonicMs() - this.#waitingSince)
  }
}
