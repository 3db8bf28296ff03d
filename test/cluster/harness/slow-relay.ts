import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

const HOST = '127.0.0.1'
/** Milliseconds between two pieces. */
const BEAT = 50

/** Stands between a client and a server on the loopback, and lets what the server says through as slowly as it is told. */
export class SlowRelay implements AsyncDisposable {
  /** Bytes a second for each connection; 0: nothing comes through, and nothing ends. */
  pace = Number.POSITIVE_INFINITY
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(target: number) {
    this.#server = createServer(client => this.#join(client, connect(target, HOST)))
  }

  static async start(target: number): Promise<SlowRelay> {
    const relay = new SlowRelay(target)
    relay.#server.listen(0, HOST)
    await once(relay.#server, 'listening')
    return relay
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(client: Socket, server: Socket): void {
    const end = (): void => {
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) {
      this.#sockets.add(socket)
      socket.on('error', end).on('close', () => this.#sockets.delete(socket))
    }
    client.pipe(server)
    client.on('close', end)
    // An end that breaks off is an end.
    this.#trickle(server, client).then(end, end)
  }

  async #trickle(from: Socket, to: Socket): Promise<void> {
    for await (const chunk of from as AsyncIterable<Buffer>)
      for (let sent = 0; sent < chunk.length && !to.destroyed; ) {
        const room = (this.pace * BEAT) / 1_000
        const piece = chunk.subarray(sent, Math.min(chunk.length, sent + Math.ceil(room)))
        if (piece.length > 0) to.write(piece)
        sent += piece.length
        if (Number.isFinite(this.pace)) await pause(BEAT)
      }
  }
}
