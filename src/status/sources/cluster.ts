import { ApiClient } from '#src/cluster/api-client.ts'
import { loadCredentials } from '#src/cluster/connect.ts'
import { HEARTBEATS_PATH, HEARTBEATS_SELECTOR, type Heartbeat, readHeartbeat } from '#src/cluster/heartbeat.ts'

/** @param kubeconfig file; in-cluster credentials without @throws CredentialsError */
export const openApi = async (kubeconfig: string | undefined): Promise<ApiClient> =>
  new ApiClient({ credentials: await loadCredentials(kubeconfig), silenceMs: 10_000 })

/** All Nodes, as the API has them. @throws ApiError, ApiUnreachableError, ApiFormatError */
export async function readNodes(client: ApiClient): Promise<unknown[]> {
  const nodes: unknown[] = []
  for await (const page of client.list('/api/v1/nodes')) nodes.push(...page.items)
  return nodes
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
