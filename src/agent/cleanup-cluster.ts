import { OWN_ANNOTATIONS, SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import { ApiClient } from '#src/cluster/api-client.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import { loadCredentials } from '#src/cluster/connect.ts'
import {
  environmentLayer,
  labelsOf,
  layersOf,
  projectFelixConfiguration,
  resolveSettings,
  type SettingsLayer,
} from '#src/cluster/felix-configuration.ts'
import { member, objectOf, textOf } from '#src/cluster/hostile.ts'
import { MESH_NODES, meshNodeSilence } from '#src/cluster/mesh-node.ts'
import { CONDITION_TYPE } from '#src/cluster/node-condition.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { FelixSettings } from '#src/mesh/settings.ts'

const FELIX_CONFIGURATIONS = '/apis/crd.projectcalico.org/v1/felixconfigurations'

/**
 * Takes away what the agent has written on its Node, and learns by which names and tables it worked there.
 * @param kubeconfig file; in-cluster credentials without
 * @throws ApiError, ApiUnreachableError, ApiFormatError, CredentialsError
 */
export async function withdraw(
  nodeName: NodeName,
  kubeconfig: string | undefined,
  say: (line: string) => void,
): Promise<FelixSettings> {
  const client = new ApiClient({ credentials: await loadCredentials(kubeconfig) })
  const path = `/api/v1/nodes/${encodeURIComponent(nodeName)}`
  try {
    const annotations = Object.fromEntries(OWN_ANNOTATIONS.map(name => [name, null]))
    const node = await client.mergePatch(path, { metadata: { annotations, labels: { [SELF_DESCRIBED]: null } } })
    const conditions = [{ type: CONDITION_TYPE, $patch: 'delete' }]
    await client.strategicMergePatch(`${path}/status`, { status: { conditions } })
    await withdrawMeshNode(client, nodeName)
    say(`withdrew the annotations, the label and the condition of Node ${nodeName}`)
    const layers = layersOf(nodeName, await configurations(client), environmentLayer(process.env), labelsOf(node))
    return resolveSettings(layers).settings
  } finally {
    client.close()
  }
}

/** It stays, as the Node does, and says of no device any more. */
async function withdrawMeshNode(client: ApiClient, nodeName: NodeName): Promise<void> {
  try {
    await client.mergePatch(`${MESH_NODES}/${encodeURIComponent(nodeName)}`, { spec: meshNodeSilence })
  } catch (error) {
    // Many clusters have no such definition.
    if (!(error instanceof ApiError && error.status === 404)) throw error
  }
}

/** By name; none where the kind is not installed. */
async function configurations(client: ApiClient): Promise<Map<string, SettingsLayer>> {
  const found = new Map<string, SettingsLayer>()
  try {
    for await (const { items } of client.list(FELIX_CONFIGURATIONS))
      for (const item of items) {
        const layer = projectFelixConfiguration(item)
        const name = textOf(member(objectOf(member(objectOf(item), 'metadata')), 'name'), 253)
        if (layer && name !== undefined) found.set(name, layer)
      }
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error
  }
  return found
}
