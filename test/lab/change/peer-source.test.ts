import { expect, test } from 'vitest'
import { MESH_NODES, meshNodeSilence } from '#src/cluster/mesh-node.ts'
import type { JsonObject } from '#src/lab/api.ts'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { patchPodveil, setGuard, withGuardedMesh } from '../guard/support/cluster.ts'
import { tell } from '../guard/support/tell.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { expectTunnelled } from '../mesh/support/underlay.ts'
import { nodeOf, turnOff, turnOn, untilEncrypted, withEncryptedMesh } from '../mesh/support/with-mesh.ts'
import { expectLoss } from './support/expect-loss.ts'

type Source = 'Nodes' | 'MeshNodes'

async function readsFrom(node: LabNode, source: Source): Promise<boolean> {
  const metrics = await node.agent.metrics()
  const watched = /^podveil_api_watches_total\{resource="(?:nodes|meshnodes)"\}/m.exec(metrics)?.[0] ?? ''
  const reads = metrics.includes(`podveil_peer_source{source="${source}"} 1`)
  return reads && watched.includes(source === 'Nodes' ? '"nodes"' : '"meshnodes"')
}

async function readFrom(lab: Lab, source: Source): Promise<void> {
  await patchPodveil(lab, { peerSource: source })
  for (const node of lab.nodes)
    await waitFor(() => readsFrom(node, source), limit(30_000), `${node.name} to read ${source}`)
}

const meshNodes = async (lab: Lab): Promise<JsonObject[]> =>
  ((await lab.client.get(MESH_NODES)) as unknown as { items: JsonObject[] }).items

const untilAllSayThemselves = (lab: Lab): Promise<unknown> =>
  waitFor(async () => (await meshNodes(lab)).length === lab.nodes.length, limit(30_000), 'a MeshNode for each node')

describeLab('the source of peers', meshNeeds, () => {
  test(
    'changed to MeshNodes and back under the guard, which drops what is not encrypted, loses nothing',
    async () => {
      await withGuardedMesh({ nodes: 3, guard: 'enforce' }, async lab => {
        const report = await measureLoss(lab, async () => {
          await readFrom(lab, 'MeshNodes')
          await expectTunnelled(lab)
          await readFrom(lab, 'Nodes')
          await expectTunnelled(lab)
        })
        tell('source of peers changed', { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
      })
    },
    caseLimit(180),
  )

  test(
    'is MeshNodes: encryption is turned off and on by what they say (control: read while they do not say of all nodes what those are, they lose)',
    async () => {
      await withEncryptedMesh({ nodes: 2 }, async lab => {
        await readFrom(lab, 'MeshNodes')
        await turnOff(lab)
        await turnOn(lab)

        // Control: what is read says nothing of a node that encrypts, which is what agents wait for not to happen.
        await setGuard(lab, 'enforce')
        const two = nodeOf(lab, 2)
        await expectLoss(
          lab,
          'a source is read that says nothing of a node',
          async () => {
            await two.agent.kill()
            await lab.client.mergePatch(`${MESH_NODES}/${two.name}`, { spec: meshNodeSilence })
          },
          async () => {
            await two.agent.start()
            await untilEncrypted(lab)
          },
        )
      })
    },
    caseLimit(120),
  )

  test(
    'MeshNodes that somebody deletes are written again, and nothing is lost meanwhile',
    async () => {
      await withEncryptedMesh({ nodes: 2 }, async lab => {
        await readFrom(lab, 'MeshNodes')
        const before = (await meshNodes(lab)).map(uidOf)
        const report = await measureLoss(lab, async () => {
          for (const { name } of lab.nodes) await lab.client.delete(`${MESH_NODES}/${name}`)
          await untilAllSayThemselves(lab)
          await expectTunnelled(lab)
        })
        expectNoLoss(report)
        for (const meshNode of await meshNodes(lab)) expect(before).not.toContain(uidOf(meshNode))
      })
    },
    caseLimit(120),
  )
})

const uidOf = ({ metadata }: JsonObject): unknown => (metadata as JsonObject).uid
