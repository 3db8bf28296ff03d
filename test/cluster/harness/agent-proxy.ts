import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Lab } from '#src/lab/lab.ts'
import { inNamespace } from '#src/lab/namespaces.ts'
import { nodeProgram } from '#src/lab/node-program.ts'
import { startDetached } from '#src/lab/processes.ts'
import { LabFiles } from '#src/lab/state.ts'
import { waitUntil } from '#src/lab/wait.ts'
import { SlowRelay } from './slow-relay.ts'

const RELAY = fileURLToPath(new URL('../../../src/lab/relay.ts', import.meta.url))
const PORT = 6444
const ROLE = 'agent-proxy'

/** Has the agents of a lab go by the proxy: `agentEnv` of a lab that starts without them. */
export const BY_PROXY = { KUBERNETES_SERVICE_PORT: String(PORT) }

/** Starts a proxy that stands between the agents of a lab and its API server. Ask the server itself with `lab.client`. */
export async function startProxy(lab: Lab): Promise<SlowRelay> {
  const files = new LabFiles(lab.name)
  const [socket, ready] = [`${files.apiserver}/proxy.sock`, `${files.apiserver}/proxy.json`]
  const proxy = await SlowRelay.start(files.apiSocket, { path: socket })
  // Into the network that the agents reach: a unix socket is reached from everywhere.
  await startDetached(inNamespace(lab.plan.switchNamespace, [nodeProgram(), RELAY, `0.0.0.0:${PORT}`, socket, ready]), {
    recordFile: files.process(ROLE),
    logFile: files.log(ROLE),
  })
  await waitUntil(() => existsSync(ready), 20_000, 'the proxy to listen')
  return proxy
}
