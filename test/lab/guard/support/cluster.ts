import type { JsonObject } from '#src/lab/api.ts'
import type { Lab, LabNode, LabOptions } from '#src/lab/lab.ts'
import { POD_SUPERNETS } from '#src/lab/plan.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { keptMesh } from '../../mesh/support/kept-mesh.ts'
import { limit } from '../../mesh/support/profile.ts'
import { nodeOf, withEncryptedMesh } from '../../mesh/support/with-mesh.ts'

/** Names of the devices, one for each family. */
export const DEVICES = ['wireguard.cali', 'wg-v6.cali'] as const

const PODVEIL_CONFIGURATIONS = '/apis/podveil.io/v1alpha1/podveilconfigurations'

/** Two nodes or more, with encryption on between all pods, and the guard as asked. */
export const withGuardedMesh = <T>(
  { guard, ...options }: LabOptions & { readonly guard: GuardMode },
  use: (lab: Lab, one: LabNode, two: LabNode) => Promise<T>,
): Promise<T> =>
  withEncryptedMesh({ nodes: 2, ...options }, async lab => {
    await setGuard(lab, guard)
    return await use(lab, nodeOf(lab, 1), nodeOf(lab, 2))
  })

/** The same of a file whose cases can have one mesh after the other, as long as each leaves it as it was. */
export function keptGuardedMesh() {
  const withMesh = keptMesh({ nodes: 2 }, lab => setGuard(lab, 'off'))
  return (guard: GuardMode, use: (lab: Lab, one: LabNode, two: LabNode) => Promise<void>): Promise<void> =>
    withMesh(async lab => {
      await setGuard(lab, guard)
      await use(lab, nodeOf(lab, 1), nodeOf(lab, 2))
    })
}

export type GuardMode = 'off' | 'audit' | 'enforce'

/** What a PodveilConfiguration has for a guard that can be closed. */
export const guardSpec = (guard: GuardMode) => ({ guard, podSupernets: Object.values(POD_SUPERNETS) })

/** Returns when every node that has a running agent does as told. */
export async function setGuard(lab: Lab, guard: GuardMode): Promise<void> {
  await patchPodveil(lab, guardSpec(guard))
  for (const node of lab.nodes)
    if (node.agent.pid !== undefined)
      await waitFor(
        async () => (await guardOf(node)) === guard,
        limit(20_000),
        `the guard of ${node.name} to be ${guard}`,
      )
}

/**
 * Patches a PodveilConfiguration; one that is missing is made.
 * @param name of the cluster's, or `node.<name>`
 */
export async function patchPodveil(lab: Lab, spec: JsonObject, name = 'default'): Promise<void> {
  const path = `${PODVEIL_CONFIGURATIONS}/${name}`
  const { status } = await lab.client.request('GET', path)
  if (status !== 404) {
    await lab.client.mergePatch(path, { spec })
    return
  }
  const metadata = { name }
  await lab.client.create(PODVEIL_CONFIGURATIONS, {
    apiVersion: 'podveil.io/v1alpha1',
    kind: 'PodveilConfiguration',
    metadata,
    spec,
  })
}

/** What the node's kernel does, whatever anybody has asked for. */
export async function guardOf(node: LabNode): Promise<GuardMode> {
  const { stdout } = await node.exec(['nft', 'list', 'table', 'inet', 'podveil'])
  if (!stdout.includes('chain guard_out')) return 'off'
  return /counter name "?out_to_pod"? drop/.test(stdout) ? 'enforce' : 'audit'
}

/** What the guard counts as crossing the underlay in clear, let through or not. */
export const OUTWARDS = ['out_to_pod', 'out_to_node', 'out_to_gone'] as const
export const INWARDS = ['in_from_pod', 'in_from_node'] as const

/** Packets that the node's guard has counted, by the names of its counters. */
export async function counted(node: LabNode, names: readonly string[]): Promise<number> {
  const { stdout } = await node.exec(['nft', '-j', 'list', 'counters', 'table', 'inet', 'podveil'])
  const { nftables } = JSON.parse(stdout) as { nftables: { counter?: { name: string; packets: number } }[] }
  return nftables.reduce((sum, { counter }) => sum + (counter && names.includes(counter.name) ? counter.packets : 0), 0)
}

/** Changes annotations of a Node, as somebody with an administrator's rights or a stolen token would. */
export const annotate = (
  lab: Lab,
  node: LabNode,
  annotations: Readonly<Record<string, string | null>>,
): Promise<JsonObject> => lab.client.mergePatch(`/api/v1/nodes/${node.name}`, { metadata: { annotations } })
