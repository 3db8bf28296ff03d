import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type ListenOptions, type Server, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

const HOST = '127.0.0.1'
/** Milliseconds between two pieces. */
const BEAT = 50

/** A port of the loopback, or the path of a unix socket. */
export type Target = number | string

/** Stands between clients and a server, and does to them what proxies do: slow them down, and hang. */
export class SlowRelay implements AsyncDisposable {
  /** Bytes a second of what the server says, for each connection; 0: nothing comes through, and nothing ends. */
  pace = Number.POSITIVE_INFINITY
  readonly #server: Server
  /** Of each client its way to the server; undefined where it hangs. */
  readonly #joints = new Map<Socket, Socket | undefined>()

  private constructor(target: Target) {
    this.#server = createServer(client =>
      this.#join(client, typeof target === 'number' ? connect(target, HOST) : connect(target)),
    )
  }

  static async start(target: Target, listen: ListenOptions = { host: HOST, port: 0 }): Promise<SlowRelay> {
    const relay = new SlowRelay(target)
    relay.#server.listen(listen)
    await once(relay.#server, 'listening')
    return relay
  }

  /** Where it listens on the loopback. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Nothing comes through the connections of now any more, and nothing says so to the clients. Whoever connects anew is served. */
  hang(): void {
    for (const [client, server] of this.#joints) {
      if (!server) continue
      client.unpipe(server).resume()
      this.#joints.set(client, undefined)
      server.destroy()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#joints.keys()) client.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(client: Socket, server: Socket): void {
    this.#joints.set(client, server)
    // One that hangs does not hear of the server's end.
    const end = (): void => {
      if (this.#joints.get(client) === server) client.destroy()
    }
    for (const socket of [client, server]) socket.on('error', () => socket.destroy())
    client.on('close', () => {
      this.#joints.delete(client)
      server.destroy()
    })
    client.pipe(server)
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
