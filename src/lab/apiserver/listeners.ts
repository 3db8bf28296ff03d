import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'

/** Where to listen: host and port (0 for one that is free), or the path of a unix socket. */
export type Address = { readonly host: string; readonly port: number } | { readonly path: string }

/** `127.0.0.1:6443`, `[::1]:6443`. Throws for anything else. */
export function parseAddress(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || port > 65535) throw new RangeError(`${text} is not host:port, as 127.0.0.1:6443 or [::1]:0`)
  return { host, port }
}

/**
 * Plain listeners on any number of addresses that hand every connection to one server. They can refuse (nobody listens),
 * hold (accepted, and not a byte answered) and cut connections, which a server itself cannot.
 */
export class Listeners {
  readonly #deliver: (socket: Socket) => void
  readonly #sockets = new Set<Socket>()
  readonly #held = new Set<Socket>()
  #addresses: readonly Address[]
  #servers: Server[] = []
  #holding = false

  constructor(addresses: readonly Address[], deliver: (socket: Socket) => void) {
    this.#addresses = addresses
    this.#deliver = deliver
  }

  /** Where it listens, or listened before it refused: free ports are known after the first `open`. */
  get addresses(): readonly Address[] {
    return this.#addresses
  }

  get connections(): number {
    return this.#sockets.size
  }

  async open(): Promise<void> {
    if (this.#servers.length > 0) return
    const opened: Address[] = []
    for (const address of this.#addresses) {
      if ('path' in address) rmSync(address.path, { force: true })
      const server = createServer({ noDelay: true }, socket => this.#accept(socket))
      this.#servers.push(server)
      server.listen('path' in address ? address.path : address)
      await once(server, 'listening')
      opened.push('path' in address ? address : { ...address, port: (server.address() as AddressInfo).port })
    }
    this.#addresses = opened
  }

  /** Stops listening, on the same addresses as before until `open`, and cuts what is connected. */
  async close(): Promise<void> {
    const closing = this.#servers.map(server => new Promise<void>(resolve => server.close(() => resolve())))
    this.#servers = []
    this.cut()
    await Promise.all(closing)
  }

  /** Cuts every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** While holding, new connections are accepted and left alone; afterwards they are served. */
  set holding(holding: boolean) {
    this.#holding = holding
    if (holding) return
    for (const socket of this.#held) this.#deliver(socket)
    this.#held.clear()
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.#sockets.delete(socket)
      this.#held.delete(socket)
    })
    if (this.#holding) this.#held.add(socket)
    else this.#deliver(socket)
  }
}
