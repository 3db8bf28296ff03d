import { expect, test } from 'vitest'
import { tell } from '../guard/support/tell.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { withLab } from '../harness/with-lab.ts'
import { addPeer, makeDevice, steer } from '../mesh/support/careless-tunnel.ts'
import { dice } from '../mesh/support/dice.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from '../mesh/support/profile.ts'
import { expectTunnelled } from '../mesh/support/underlay.ts'
import { nodeOf, untilEncrypted, withEncryptedMesh } from '../mesh/support/with-mesh.ts'

/** Times that some node is turned off or on again. */
const TOGGLES = profile.long ? 100 : 8
/** Milliseconds between two of them, at most: shorter than a pair takes to turn. */
const GAP = 1_200
/** What a device holds back for each peer that has no session, and sends once it has one: more than that is lost. */
const STAGED = 160

describeLab('nodes that are switched one by one, before the others have followed', meshNeeds, () => {
  test(
    'control: by hand, where each steers to the others as soon as it is on itself, packets are lost until they follow',
    async () => {
      await withLab({ agents: false, nodes: 3, families: '4' }, async lab => {
        const keys = await Promise.all(lab.nodes.map(makeDevice))
        await lab.traffic.start({ rate: Math.min(100, profile.rate) })
        for (const node of lab.nodes) {
          const { missing } = await lab.traffic.snapshot()
          for (const [index, other] of lab.nodes.entries()) {
            if (other === node) continue
            await addPeer(node, other, keys[index] ?? '')
            await steer(node, other)
          }
          // The last one has nobody left to wait for.
          if (node === lab.nodes.at(-1)) break
          await waitFor(
            async () => (await lab.traffic.snapshot()).missing > missing + 2 * STAGED,
            limit(20_000),
            `${node.name} to be missed`,
          )
        }
        const { sent, lost } = await lab.traffic.stop()
        tell('staggered by hand', { sent, lost })
        expect(lost).toBeGreaterThan(0)
      })
    },
    caseLimit(60),
  )

  test.each(profile.long ? ([0, 1, 2] as const) : ([1] as const))(
    `${TOGGLES} times at random, with a reverse-path filter of %d: nothing is lost, and no connection breaks`,
    async rpFilter => {
      await withEncryptedMesh({ nodes: 3, rpFilter }, async lab => {
        const report = await measureLoss(
          lab,
          async () => {
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
          },
          profile.rate,
        )
        const streams = report.pairs.flatMap(({ stream }) => stream ?? [])
        const echoed = streams.reduce((sum, stream) => sum + stream.echoed, 0)
        const resets = streams.reduce((sum, stream) => sum + stream.resets.length, 0)
        tell('staggered', {
          ...{ rpFilter, toggles: TOGGLES, sent: report.sent, lost: report.lost },
          ...{ connections: streams.length, echoed, resets },
        })
        expectNoLoss(report)
        for (const { stream } of report.pairs) expect(stream?.echoed).toBeGreaterThan(0)
        expect(report.sent).toBeGreaterThan(TOGGLES)
      })
    },
    caseLimit(TOGGLES * 3 + 120),
  )
})
