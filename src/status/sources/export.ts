import type { ApiClient } from '#src/cluster/api-client.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import {
  environmentLayer,
  layersOf,
  projectFelixConfiguration,
  resolveSettings,
  type SettingsLayer,
} from '#src/cluster/felix-configuration.ts'
import { member, objectOf, textOf } from '#src/cluster/hostile.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import type { FelixSettings } from '#src/mesh/settings.ts'
import type { Family } from '#wg/ip.ts'
import { wgQuickText } from '../wg-quick.ts'
import { openApi, readNodes } from './cluster.ts'

/** @throws Error for a node that is not there or announces no key; CredentialsError, ApiError and its like */
export async function exportNode(name: string, family: Family, kubeconfig: string | undefined): Promise<string> {
  const client = await openApi(kubeconfig)
  try {
    const nodes = (await readNodes(client)).flatMap(raw => projectNode(raw) ?? [])
    const self = nodes.find(node => node.name === name)
    if (!self) throw new Error(`there is no Node ${name}: kubectl get nodes lists them`)
    const text = wgQuickText(self, nodes, family, await readSettings(client, name))
    if (text === undefined)
      throw new Error(`${name} announces no WireGuard key for IPv${family}: is encryption on? podveil status says`)
    return text
  } finally {
    client.close()
  }
}

/** As the API has them for that node; its own environment is not known here. */
async function readSettings(client: ApiClient, node: string): Promise<FelixSettings> {
  const layers = new Map<string, SettingsLayer>()
  try {
    for await (const { items } of client.list('/apis/crd.projectcalico.org/v1/felixconfigurations'))
      for (const item of items) {
        const name = textOf(member(objectOf(member(objectOf(item), 'metadata')), 'name'), 253)
        const layer = projectFelixConfiguration(item)
        if (name !== undefined && layer) layers.set(name, layer)
      }
  } catch (error) {
    // Not installed: nobody has configured anything.
    if (!(error instanceof ApiError && error.status === 404)) throw error
  }
  return resolveSettings(layersOf(node, layers, environmentLayer({}))).settings
}
