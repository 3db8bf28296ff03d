import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import { Image } from '../../tools/image.ts'
import { DEVICES } from '../guard/support/cluster.ts'
import { describeLab } from '../harness/requirements.ts'
import { withLab } from '../harness/with-lab.ts'
import { AgentLog } from '../mesh/support/agent-log.ts'
import { settledState } from '../mesh/support/kernel-state.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from '../mesh/support/profile.ts'
import { expectTunnelled } from '../mesh/support/underlay.ts'
import { allReady, nodeOf, onNode, turnOn, untilEncrypted, withMesh } from '../mesh/support/with-mesh.ts'
import { expectLoss } from './support/expect-loss.ts'

/**
 * Directory of a bundle of another build, an earlier release for one (`scripts/bundle.mjs --out DIR` in its tree). Without, both
 * versions are built of this checkout and differ in what they say they are.
 */
const OTHER_BUILD = process.env.PODVEIL_OTHER_BUILD

/** As a DaemonSet's rolling update does: one node after the other, the next when the new agent is ready. */
async function rollOut(lab: Lab, image: Image): Promise<void> {
  for (const node of lab.nodes) {
    const log = new AgentLog(node)
    node.agent.image = image.directory
    await node.agent.restart()
    await node.agent.ready(limit(30_000))
    const [first] = log.matching(/^podveil \S+ on /)
    expect(first?.msg).toContain(OTHER_BUILD === undefined ? `podveil ${image.version} on` : 'podveil ')
    await expectTunnelled(lab)
  }
}

describeLab('two versions of the agent', meshNeeds, () => {
  test(
    'upgraded node by node and downgraded again, in a mesh that is in use: nothing is lost, and the kernels stay as they are',
    async () => {
      using older = new Image('0.0.1', OTHER_BUILD)
      using newer = new Image('99.0.0')
      await withLab({ dataplane: profile.dataplane, nodes: 3, agents: false }, async lab => {
        for (const { agent } of lab.nodes) agent.image = older.directory
        await Promise.all(lab.nodes.map(({ agent }) => agent.start()))
        await allReady(lab)
        await turnOn(lab)
        const before = await Promise.all(lab.nodes.map(settledState))
        const report = await measureLoss(lab, async () => {
          await rollOut(lab, newer)
          await rollOut(lab, older)
        })
        expectNoLoss(report)
        expect(await Promise.all(lab.nodes.map(settledState))).toEqual(before)
      })
    },
    caseLimit(120),
  )

  test('an agent takes over from a later version what it knows of, and minds nothing that it does not (control: one that begins with nothing loses)', async () => {
    await withMesh({ nodes: 2 }, async lab => {
      await turnOn(lab)
      const [one, other] = [nodeOf(lab, 1), nodeOf(lab, 2)]
      const before = await settledState(one)
      const report = await measureLoss(lab, async () => {
        await one.agent.kill('SIGTERM')
        leaveBehindAsALaterVersion(one.agent.stateDirectory)
        await annotate(lab, one.name, { 'podveil.io/hello': '2', 'podveil.io/of-a-later-version': 'something' })
        const [log, othersLog] = [new AgentLog(one), new AgentLog(other)]
        await one.agent.start()
        await one.agent.ready(limit(30_000))
        await expectTunnelled(lab)
        for (const each of [log, othersLog]) expect(each.matching(/made new private keys|malformed/)).toEqual([])
      })
      expectNoLoss(report)
      expect(await settledState(one)).toEqual(before)

      await expectLoss(
        lab,
        'an agent that begins with nothing',
        async () => {
          await one.agent.kill('SIGTERM')
          for (const device of DEVICES) await onNode(one, removeItsPeers(device))
        },
        async () => {
          await one.agent.start()
          await one.agent.ready(limit(30_000))
          await untilEncrypted(lab)
        },
      )
    })
  })
})

const removeItsPeers = (device: string): string =>
  `for key in $(wg show ${device} peers); do wg set ${device} peer "$key" remove; done`

/** Files of the state directory as a later version may write them: more of what there is, and files that nobody knows. */
function leaveBehindAsALaterVersion(stateDirectory: string): void {
  for (const name of ['keys.json', 'armed.json', 'status.json']) {
    const file = join(stateDirectory, name)
    let text: string
    try {
      text = readFileSync(file, 'utf8')
    } catch {
      continue
    }
    const content = JSON.parse(text) as object
    writeFileSync(file, JSON.stringify({ ...content, ofALaterVersion: { a: [1] } }), { mode: 0o600 })
  }
  writeFileSync(join(stateDirectory, 'of-a-later-version.json'), '{"format":7}', { mode: 0o600 })
}

const annotate = (lab: Lab, node: string, annotations: Readonly<Record<string, string>>): Promise<unknown> =>
  lab.client.mergePatch(`/api/v1/nodes/${node}`, { metadata: { annotations } })
