import { expect, test } from 'vitest'
import { tell } from '../guard/support/tell.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { dice } from '../mesh/support/dice.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from '../mesh/support/profile.ts'
import { expectTunnelled } from '../mesh/support/underlay.ts'
import { nodeOf, untilEncrypted, withEncryptedMesh } from '../mesh/support/with-mesh.ts'

/** Times that some node is turned off or on again. */
const TOGGLES = profile.long ? 100 : 8
/** Milliseconds between two of them, at most: shorter than a pair takes to turn. */
const GAP = 1_200

describeLab('nodes that are switched one by one, before the others have followed', meshNeeds, () => {
  test.each(profile.long ? ([0, 1, 2] as const) : ([1] as const))(
    `${TOGGLES} times at random, with a reverse-path filter of %d: nothing is lost, and no connection breaks`,
    async rpFilter => {
      await withEncryptedMesh({ nodes: 3, rpFilter }, async lab => {
        const report = await measureLoss(lab, async () => {
          const next = dice(rpFilter + 1)
          const roll = (sides: number) => Math.floor(next.next().value * sides)
          const off = new Set<string>()
          const elapsed = async () => (await lab.traffic.snapshot()).elapsedMs
          for (let toggle = 0; toggle < TOGGLES; toggle++) {
            const { name } = nodeOf(lab, 1 + roll(lab.nodes.length))
            const on = off.delete(name)
            if (!on) off.add(name)
            await lab.patchFelix({ wireguardEnabled: on, wireguardEnabledV6: on }, `node.${name}`)
            const until = (await elapsed()) + roll(GAP)
            await waitFor(async () => (await elapsed()) >= until, limit(GAP * 20), 'the next toggle')
          }
          for (const name of off)
            await lab.patchFelix({ wireguardEnabled: true, wireguardEnabledV6: true }, `node.${name}`)
          await untilEncrypted(lab, limit(60_000))
          await expectTunnelled(lab)
        })
        tell('staggered', { rpFilter, toggles: TOGGLES, sent: report.sent, lost: report.lost })
        expectNoLoss(report)
        expect(report.sent).toBeGreaterThan(TOGGLES)
      })
    },
    caseLimit(TOGGLES * 3 + 120),
  )
})
