import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ApiServer, type ApiServerOptions } from '#src/lab/apiserver/api-server.ts'
import { readDefinitions } from '#src/lab/apiserver/manifests.ts'
import { parseTokens } from '#src/lab/apiserver/tokens.ts'
import type { Connection } from '../../contract/api-client.ts'

export const TOKEN = 'token-of-admin'
export const AGENT_TOKEN = 'token-of-agent'

export const TOKEN_FILE = `${TOKEN},admin,1,"system:masters"\n${AGENT_TOKEN},system:node:a,2\n`

export const DEFINITIONS = fileURLToPath(new URL('../../../manifests/crds', import.meta.url))

/** An API server of the test's own on a free port of 127.0.0.1, which serves the kinds of manifests/crds. */
export function startApiServer(options: Partial<ApiServerOptions> = {}): Promise<ApiServer> {
  return ApiServer.start({ tokens: parseTokens(TOKEN_FILE), definitions: readDefinitions(DEFINITIONS), ...options })
}

export function connectionTo(server: ApiServer, token = TOKEN): Connection {
  return { url: server.url, ca: server.ca, token }
}

/** A directory that is gone when the test is over. */
export class TemporaryDirectory implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'podveil-apiserver-'))

  file(name: string): string {
    return join(this.path, name)
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}
