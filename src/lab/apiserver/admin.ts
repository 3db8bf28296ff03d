import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { text } from 'node:stream/consumers'
import type { ApiServer } from './api-server.ts'
import type { Fault } from './faults.ts'

type Order = (server: ApiServer, body: unknown) => unknown

/** POST /ORDER on the admin socket: what `ApiServer` can do, for a lab that runs it as its own process. */
const ORDERS: Readonly<Record<string, Order>> = {
  'set-fault': (server, body) => ({ id: server.faults.set(body as Fault) }),
  'lift-fault': (server, body) => server.faults.lift((body as { id: number }).id),
  'lift-faults': server => server.faults.liftAll(),
  compact: server => server.compact(),
  'expire-watches': server => server.expireWatches(),
  'drop-watches': server => server.dropWatches(),
  'cut-connections': server => server.cutConnections(),
  refuse: server => server.refuse(),
  accept: server => server.accept(),
  hang: server => server.hang(),
  unhang: server => server.unhang(),
  'reset-loads': server => server.resetLoads(),
  state: server => ({
    revision: server.store.revision,
    openWatches: server.openWatches,
    openConnections: server.openConnections,
    loads: server.loads,
  }),
}

/** Takes orders on a unix socket that only this user can reach. The caller closes the server that it returns. */
export async function openAdminSocket(apiServer: ApiServer, path: string): Promise<Server> {
  const admin = createServer((request, response) => {
    void (async () => {
      const order = Object.hasOwn(ORDERS, request.url?.slice(1) ?? '') ? ORDERS[request.url?.slice(1) ?? ''] : undefined
      if (request.method !== 'POST' || order === undefined) {
        response.writeHead(404).end(`POST one of: ${Object.keys(ORDERS).join(', ')}\n`)
        return
      }
      try {
        const body = await text(request)
        const answer = await order(apiServer, body === '' ? {} : JSON.parse(body))
        response.writeHead(200, { 'Content-Type': 'application/json' }).end(`${JSON.stringify(answer ?? {})}\n`)
      } catch (error) {
        response.writeHead(400).end(`${error instanceof Error ? error.message : String(error)}\n`)
      }
    })()
  })
  rmSync(path, { force: true })
  const mask = process.umask(0o077)
  try {
    admin.listen(path)
    await once(admin, 'listening')
  } finally {
    process.umask(mask)
  }
  return admin
}
