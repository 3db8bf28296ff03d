import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ApiClient } from '#src/cluster/api-client.ts'
import { loadCredentials } from '#src/cluster/connect.ts'
import { HEARTBEATS_PATH, HEARTBEATS_SELECTOR, type Heartbeat, readHeartbeat } from '#src/cluster/heartbeat.ts'
import { messageOf } from '#src/cluster/hostile.ts'
import { type MeshStatus, meshStatus } from '../mesh-status.ts'

/**
 * @param kubeconfig file; without, the credentials of a pod where this is one, else kubectl's own file
 * @throws CredentialsError
 */
export async function openApi(kubeconfig: string | undefined): Promise<ApiClient> {
  const file = kubeconfig ?? (process.env.KUBERNETES_SERVICE_HOST ? undefined : kubectlsOwn())
  return new ApiClient({ credentials: await loadCredentials(file), silenceMs: 10_000 })
}

/** Where kubectl looks when nobody says. */
function kubectlsOwn(): string | undefined {
  const file = join(homedir(), '.kube', 'config')
  return existsSync(file) ? file : undefined
}

/** All Nodes, as the API has them. @throws ApiError, ApiUnreachableError, ApiFormatError */
export async function readNodes(client: ApiClient): Promise<unknown[]> {
  const nodes: unknown[] = []
  for await (const page of client.list('/api/v1/nodes')) nodes.push(...page.items)
  return nodes
}

export interface ReadMesh {
  readonly status: MeshStatus
  /** Nodes, as the API has them. */
  readonly objects: readonly unknown[]
  /** Why the age of what agents say is not known; undefined where it is: who may not read Leases still sees the rest. */
  readonly ageless: string | undefined
}

/** The mesh as the cluster sees it now. @throws ApiError and its like */
export async function readMesh(client: ApiClient): Promise<ReadMesh> {
  const [objects, heartbeats] = await Promise.all([
    readNodes(client),
    readHeartbeats(client).catch((error: unknown) => messageOf(error)),
  ])
  if (typeof heartbeats === 'string') return { status: meshStatus(objects), objects, ageless: heartbeats }
  return { status: meshStatus(objects, { heartbeats, now: Date.now() }), objects, ageless: undefined }
}

/** The heartbeats of all agents, by node. @throws ApiError and its like */
export async function readHeartbeats(client: ApiClient): Promise<Map<string, Heartbeat>> {
  const heartbeats = new Map<string, Heartbeat>()
  for await (const page of client.list(HEARTBEATS_PATH, { query: { labelSelector: HEARTBEATS_SELECTOR } }))
    for (const item of page.items) {
      const heartbeat = readHeartbeat(item)
      if (heartbeat) heartbeats.set(heartbeat.node, heartbeat)
    }
  return heartbeats
}
