import type { ApiClient } from '#src/cluster/api-client.ts'
import { meshStatus } from '#src/status/mesh-status.ts'
import { nodeStatus } from '#src/status/node-status.ts'
import { readNodes } from '#src/status/sources/cluster.ts'
import { lookAtNode } from '#src/status/sources/node.ts'
import { meshFragment } from './mesh-fragment.ts'
import { CONTENT_SECURITY_POLICY, PAGE } from './page.ts'

/** Milliseconds for which what was read is shown to everybody who looks: a list of all Nodes is not free. */
const FRESH = 5_000

const HTML = 'text/html; charset=utf-8'

const HEADERS = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
}

/** What the agent's web page answers; nothing is read while nobody looks. */
export function webPage(client: ApiClient, stateDir: string) {
  let shown: { readonly text: Promise<string>; readonly at: number } | undefined
  const fragment = (): Promise<string> => {
    if (!shown || performance.now() - shown.at > FRESH)
      shown = { text: readMesh(client, stateDir), at: performance.now() }
    return shown.text
  }
  return {
    '/': () => ({ status: 200, type: HTML, body: PAGE, headers: HEADERS }) as const,
    '/mesh': async () => ({ status: 200, type: HTML, body: await fragment(), headers: HEADERS }) as const,
  }
}

async function readMesh(client: ApiClient, stateDir: string): Promise<string> {
  const [objects, { snapshot, kernel, notes }] = await Promise.all([readNodes(client), lookAtNode(stateDir)])
  const now = Date.now()
  // The agent may not read the Leases of others: the age of what they say is not known here.
  return meshFragment(meshStatus(objects), nodeStatus(snapshot, kernel, now, notes), now)
}
