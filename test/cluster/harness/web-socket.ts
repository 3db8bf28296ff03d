import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'

/** Of RFC 6455, section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

const CONTINUATION = 0
const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10

/** 1000 of RFC 6455: it has done what it was for. */
const NORMAL = Buffer.from([3, 232])

/** The server's side of a WebSocket, with binary messages alone: what the API server's clients speak. */
export class ServerWebSocket {
  readonly #socket: Duplex
  readonly #message: (bytes: Buffer) => void
  #rest: Buffer
  #begun: Buffer[] = []

  /**
   * Answers an upgrade.
   * @param head what has come with the request already
   * @param ended is called once, when the connection is gone
   */
  constructor(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    protocol: string,
    on: { message(bytes: Buffer): void; ended(): void },
  ) {
    this.#socket = socket
    this.#message = on.message
    this.#rest = head
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${GUID}`).digest('base64')
    const lines = [
      'HTTP/1.1 101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Accept: ${accept}`,
      `Sec-WebSocket-Protocol: ${protocol}`,
    ]
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    socket.on('data', (bytes: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, bytes])
      this.#read()
    })
    socket.on('error', () => socket.destroy())
    socket.on('close', on.ended)
  }

  send(bytes: Buffer): void {
    this.#frame(BINARY, bytes)
  }

  close(): void {
    this.#frame(CLOSE, NORMAL)
    this.#socket.end()
  }

  #frame(opcode: number, payload: Buffer): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return
    const { length } = payload
    const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10)
    head[0] = 0x80 | opcode
    head[1] = length < 126 ? length : length < 65_536 ? 126 : 127
    if (head.length === 4) head.writeUInt16BE(length, 2)
    if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2)
    this.#socket.write(Buffer.concat([head, payload]))
  }

  #read(): void {
    for (;;) {
      const frame = frameOf(this.#rest)
      if (!frame) return
      this.#rest = this.#rest.subarray(frame.size)
      this.#take(frame)
    }
  }

  #take({ opcode, last, payload }: Frame): void {
    if (opcode === PING) this.#frame(PONG, payload)
    if (opcode === CLOSE) this.close()
    if (opcode !== BINARY && opcode !== CONTINUATION) return
    this.#begun.push(payload)
    if (!last) return
    const message = Buffer.concat(this.#begun)
    this.#begun = []
    this.#message(message)
  }
}

interface Frame {
  readonly opcode: number
  readonly last: boolean
  readonly payload: Buffer
  /** Bytes of all of it. */
  readonly size: number
}

/** @returns undefined while not all of it is there */
function frameOf(bytes: Buffer): Frame | undefined {
  if (bytes.length < 2) return undefined
  const [first = 0, second = 0] = bytes
  const short = second & 0x7f
  const extra = short === 126 ? 2 : short === 127 ? 8 : 0
  if (bytes.length < 2 + extra) return undefined
  const length = extra === 2 ? bytes.readUInt16BE(2) : extra === 8 ? Number(bytes.readBigUInt64BE(2)) : short
  const masked = (second & 0x80) !== 0
  const start = 2 + extra + (masked ? 4 : 0)
  if (bytes.length < start + length) return undefined
  const mask = bytes.subarray(start - 4, start)
  const payload = Buffer.from(bytes.subarray(start, start + length))
  if (masked) for (let i = 0; i < length; i++) payload[i] = (payload[i] ?? 0) ^ (mask[i % 4] ?? 0)
  return { opcode: first & 0x0f, last: (first & 0x80) !== 0, payload, size: start + length }
}
