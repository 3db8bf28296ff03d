import { expect, test } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import { DEVICES } from '../guard/support/cluster.ts'
import { tell } from '../guard/support/tell.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { dice } from '../mesh/support/dice.ts'
import { kernelState, settledState } from '../mesh/support/kernel-state.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from '../mesh/support/profile.ts'
import { expectTunnelled } from '../mesh/support/underlay.ts'
import { allReady, nodeOf, onNode, untilEncrypted, withEncryptedMesh } from '../mesh/support/with-mesh.ts'
import { expectLoss } from './support/expect-loss.ts'

const SECONDS = profile.long ? 120 : 20
/** Milliseconds between two misfortunes. */
const GAP = 1_500

const elapsed = async (lab: Lab): Promise<number> => (await lab.traffic.snapshot()).elapsedMs

/** Kills agents and has them come back, takes the API server away half of the time, and changes what agents follow. */
async function misfortunes(lab: Lab): Promise<number> {
  const next = dice(1)
  const roll = (sides: number) => Math.floor(next.next().value * sides)
  let kills = 0
  for (let at = GAP; at < SECONDS * 1_000; at += GAP) {
    await waitFor(async () => (await elapsed(lab)) >= at, limit(GAP * 20), 'the next misfortune')
    const node = lab.nodes[roll(lab.nodes.length)]
    if (node?.agent.pid === undefined) await node?.agent.start()
    else {
      await node.agent.kill(roll(2) === 0 ? 'SIGKILL' : 'SIGTERM')
      kills++
      if (roll(2) === 0) await node.agent.start()
    }
    if (Math.floor(at / (GAP * 3)) % 2 === 0) {
      await lab.api.start()
      await lab.patchFelix({ wireguardKeepAlive: `${20 + roll(10)}s` })
    } else await lab.api.stop(roll(2) === 0 ? 'SIGKILL' : 'SIGTERM')
  }
  await lab.api.start()
  await lab.patchFelix({ wireguardKeepAlive: null })
  await Promise.all(lab.nodes.map(one => one.agent.start()))
  await allReady(lab)
  return kills
}

describeLab('agents that die and come back', meshNeeds, () => {
  test(
    `at random for ${SECONDS} s, with the API server away half of the time: nothing is lost, and the kernels end as they began (control: one that takes its devices with it loses)`,
    async () => {
      await withEncryptedMesh({ nodes: 3 }, async lab => {
        const before = await Promise.all(lab.nodes.map(settledState))
        let kills = 0
        const report = await measureLoss(lab, async () => {
          kills = await misfortunes(lab)
          await untilEncrypted(lab)
          await expectTunnelled(lab)
        })
        tell('agents at random', { kills, sent: report.sent, lost: report.lost })
        expectNoLoss(report)
        expect(kills).toBeGreaterThan(SECONDS / 10)
        await waitFor(
          async () => {
            expect(await Promise.all(lab.nodes.map(kernelState))).toEqual(before)
            return true
          },
          limit(30_000),
          'the kernels to be as they were',
        )

        const one = nodeOf(lab, 1)
        await expectLoss(
          lab,
          'an agent that takes its devices with it',
          async () => {
            await one.agent.kill()
            for (const device of DEVICES) await onNode(one, `ip link del ${device}`)
          },
          async () => {
            await one.agent.start()
            await untilEncrypted(lab)
          },
        )
      })
    },
    caseLimit(SECONDS + 90),
  )
})
