import { expect, test } from 'vitest'
import { annotations } from '#src/cluster/annotations.ts'
import type { JsonObject } from '#src/lab/api.ts'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { annotate } from '../guard/support/cluster.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { AgentLog } from '../mesh/support/agent-log.ts'
import { expectNoLoss, measureOnce } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { nodeOf, onNode, turnOn, untilEncrypted, withEncryptedMesh, withMesh } from '../mesh/support/with-mesh.ts'

/** Bytes of images in a status, as a kubelet lists them. */
const IMAGES = 20_000

async function metricOf(node: LabNode, series: string): Promise<number> {
  const line = (await node.agent.metrics()).split('\n').find(one => one.startsWith(`${series} `))
  return line === undefined ? 0 : Number(line.slice(series.length))
}

const watchesMetadata = async (node: LabNode): Promise<boolean> =>
  (await metricOf(node, 'podveil_api_watches_total{resource="undescribednodes"}')) > 0

const untilAllWatchMetadata = async (lab: Lab): Promise<void> => {
  for (const node of lab.nodes)
    await waitFor(() => watchesMetadata(node), limit(20_000), `${node.name} to watch metadata`)
}

const patchStatus = (lab: Lab, node: LabNode, status: JsonObject): Promise<JsonObject> =>
  lab.client.mergePatch(`/api/v1/nodes/${node.name}/status`, { status })

/** Bytes that this agent is sent when the kubelet of another node writes its status. */
async function sentForAHeartbeat(lab: Lab, agent: LabNode, other: LabNode, beat: number): Promise<number> {
  const received = () => metricOf(agent, 'podveil_api_received_bytes_total{resource="nodes"}')
  const before = await received()
  await patchStatus(lab, other, { images: [{ names: [`${beat}`.repeat(IMAGES)], sizeBytes: 1 }] })
  await waitFor(async () => (await received()) > before, limit(10_000), 'the heartbeat')
  return (await received()) - before
}

const allowedIps = (node: LabNode): Promise<string> =>
  onNode(node, 'wg show wireguard.cali allowed-ips | tr " \\t" "\\n" | sort')

describeLab('Nodes that say all that others need in their metadata', meshNeeds, () => {
  test(
    'are watched by that alone once they encrypt: a heartbeat is no longer sent whole (control: before, it is)',
    async () => {
      await withMesh({ nodes: 2 }, async lab => {
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        expect(await sentForAHeartbeat(lab, one, two, 1)).toBeGreaterThan(IMAGES)
        await turnOn(lab)
        await untilAllWatchMetadata(lab)
        const sent = await sentForAHeartbeat(lab, one, two, 2)
        expect(sent).toBeGreaterThan(100)
        expect(sent).toBeLessThan(IMAGES / 4)
      })
    },
    caseLimit(60),
  )

  test(
    'are not believed what others say there for them: no packet goes elsewhere (control: what the Node says counts)',
    async () => {
      await withEncryptedMesh({ nodes: 3, families: '4' }, async lab => {
        await untilAllWatchMetadata(lab)
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        // It would put its annotations right.
        await two.agent.kill()
        const before = await allowedIps(one)
        const log = new AgentLog(one)
        const report = await measureOnce(lab, async () => {
          await annotate(lab, two, { [annotations.podCidrs]: '10.244.3.0/24', [annotations.addresses]: '10.200.0.13' })
          await log.says(/annotations of Node .*2 say other addresses or pod CIDRs/)
          expect(await allowedIps(one)).toBe(before)
        })
        expectNoLoss(report)

        const more = '10.200.0.99'
        expect(before).not.toContain(more)
        const addresses = [
          { type: 'InternalIP', address: two.addresses[0] ?? '' },
          { type: 'InternalIP', address: more },
        ]
        await patchStatus(lab, two, { addresses })
        await two.agent.start()
        await untilEncrypted(lab)
        await waitFor(async () => (await allowedIps(one)).includes(more), limit(20_000), 'the other address')
      })
    },
    caseLimit(90),
  )
})
