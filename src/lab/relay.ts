// Joins connections to one address with connections to another: `relay.ts LISTEN TARGET READY-FILE`, where both are
// host:port or the path of a unix socket. A unix socket is reached from every network namespace, so this is how the
// machine's own loopback gets to a server inside of one, with nothing changed in the machine's network.
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import {
  type AddressInfo,
  connect,
  createServer,
  type ListenOptions,
  type Socket,
  type TcpNetConnectOpts,
} from 'node:net'
import { dirname } from 'node:path'

const parse = (text: string): ListenOptions & (TcpNetConnectOpts | { path: string }) => {
  if (text.startsWith('/')) return { path: text }
  const match = /^\[?([^\]]+)\]?:(\d+)$/.exec(text)
  if (!match) throw new TypeError(`neither host:port nor a path: ${text}`)
  return { host: match[1] ?? '', port: Number(match[2]) }
}

function join(client: Socket, target: Socket): void {
  const end = () => {
    client.destroy()
    target.destroy()
  }
  for (const socket of [client, target]) socket.on('error', end).on('close', end)
  client.pipe(target).pipe(client)
}

const [listen, target, readyFile] = process.argv.slice(2)
if (listen === undefined || target === undefined || readyFile === undefined)
  throw new TypeError('usage: relay.ts LISTEN TARGET READY-FILE')

const server = createServer(client => join(client, connect(parse(target))))
server.listen(parse(listen), () => {
  const address = server.address() as AddressInfo | string
  writeFileSync(
    `${readyFile}.new`,
    JSON.stringify(typeof address === 'string' ? { path: address } : { port: address.port }),
  )
  renameSync(`${readyFile}.new`, readyFile)
})
// A lab that was removed without asking leaves nobody behind.
setInterval(() => existsSync(dirname(readyFile)) || process.exit(0), 2_000)
