import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { openAdminSocket } from './admin.ts'
import { ApiServer, type ApiServerOptions } from './api-server.ts'
import { parseAddress } from './listeners.ts'
import { readDefinitions } from './manifests.ts'
import { parseTokens } from './tokens.ts'

// The API server as a process of its own. It says on one line of stdout that it is ready and where, and on one line of
// stderr why it is not.

const { values } = parseArgs({
  options: {
    listen: { type: 'string', multiple: true },
    unix: { type: 'string', multiple: true },
    'admin-socket': { type: 'string' },
    'data-dir': { type: 'string' },
    'token-file': { type: 'string' },
    'tls-dir': { type: 'string' },
    'tls-san': { type: 'string', multiple: true },
    crds: { type: 'string', multiple: true },
    'history-limit': { type: 'string' },
    'bookmark-ms': { type: 'string' },
    'no-watch-list': { type: 'boolean' },
  },
})

function options(): ApiServerOptions {
  const { listen, unix = [], 'token-file': tokenFile, 'tls-dir': tlsDirectory, 'data-dir': dataDirectory } = values
  if (tokenFile === undefined || tlsDirectory === undefined)
    throw new TypeError('--token-file and --tls-dir are needed')
  const tcp = listen ?? (unix.length > 0 ? [] : ['127.0.0.1:0'])
  return {
    listen: [...tcp.map(parseAddress), ...unix.map(path => ({ path }))],
    tokens: parseTokens(readFileSync(tokenFile, 'utf8')),
    tlsDirectory,
    names: values['tls-san'] ?? [],
    definitions: (values.crds ?? []).flatMap(readDefinitions),
    watchList: values['no-watch-list'] !== true,
    ...(dataDirectory !== undefined && { dataDirectory }),
    ...(values['history-limit'] !== undefined && { historyLimit: positive('history-limit') }),
    ...(values['bookmark-ms'] !== undefined && { bookmarkMs: positive('bookmark-ms') }),
  }
}

function positive(flag: 'history-limit' | 'bookmark-ms'): number {
  const value = Number(values[flag])
  if (!Number.isSafeInteger(value) || value < 1) throw new RangeError(`--${flag} is a whole number above 0`)
  return value
}

try {
  const server = await ApiServer.start(options())
  const adminPath = values['admin-socket']
  const admin = adminPath === undefined ? undefined : await openAdminSocket(server, adminPath)
  const stop = (): void => {
    admin?.close()
    admin?.closeAllConnections()
    // Left to itself, the process ends once nothing is open.
    void server.close()
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  const urls = server.addresses.flatMap(address => {
    return 'path' in address
      ? []
      : [`https://${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`]
  })
  const ca = resolve(values['tls-dir'] ?? '', 'ca.crt')
  const ready = {
    ready: true,
    pid: process.pid,
    urls,
    unix: values.unix ?? [],
    ca,
    resourceVersion: server.store.revision,
  }
  process.stdout.write(`${JSON.stringify(ready)}\n`)
} catch (error) {
  process.stderr.write(`apiserver: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
