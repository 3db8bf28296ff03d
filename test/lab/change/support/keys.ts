import { expect } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { patchPodveil } from '../../guard/support/cluster.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit } from '../../mesh/support/profile.ts'
import { expectTunnelled } from '../../mesh/support/underlay.ts'
import { onNode } from '../../mesh/support/with-mesh.ts'

/** Public key of the node's main IPv4 device, as the kernel has it, alone in a list. */
export const keysOf4 = async (node: LabNode): Promise<string[]> =>
  (await onNode(node, 'wg show wireguard.cali public-key')).trim().split('\n')

export const askForNewKeys = (lab: Lab, rotation: object = {}, name = 'default'): Promise<void> =>
  patchPodveil(lab, { rotation: { notBefore: new Date().toISOString(), ...rotation } }, name)

/** The node has another key than this one, and traffic is on the main devices again. */
export async function untilRotated(lab: Lab, node: LabNode, old: string): Promise<void> {
  await waitFor(async () => expect(await keysOf4(node)).not.toEqual([old]) ?? true, limit(60_000), 'new key')
  await untilOneDevice(lab)
  await expectTunnelled(lab)
}

const untilOneDevice = (lab: Lab): Promise<unknown> =>
  Promise.all(
    lab.nodes.map(node =>
      waitFor(
        async () => expect((await onNode(node, 'wg show interfaces')).trim()).toBe('wireguard.cali') ?? true,
        limit(60_000),
        `the spare device of ${node.name} to go`,
      ),
    ),
  )
