import { ApiClient } from '#src/cluster/api-client.ts'
import { loadCredentials } from '#src/cluster/connect.ts'

/** @param kubeconfig file; in-cluster credentials without @throws CredentialsError */
export const openApi = async (kubeconfig: string | undefined): Promise<ApiClient> =>
  new ApiClient({ credentials: await loadCredentials(kubeconfig), silenceMs: 10_000 })

/** All Nodes, as the API has them. @throws ApiError, ApiUnreachableError, ApiFormatError */
export async function readNodes(client: ApiClient): Promise<unknown[]> {
  const nodes: unknown[] = []
  for await (const page of client.list('/api/v1/nodes')) nodes.push(...page.items)
  return nodes
}
