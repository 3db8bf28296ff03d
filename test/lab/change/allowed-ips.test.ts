import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { nodeProgram } from '#src/lab/node-program.ts'
import { tell } from '../guard/support/tell.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from '../mesh/support/profile.ts'
import { nodeOf, onNode, withEncryptedMesh } from '../mesh/support/with-mesh.ts'

const COLD_PREFIXES = fileURLToPath(new URL('./fixtures/cold-prefixes.ts', import.meta.url))
const DEVICE = 'wireguard.cali'
const UPDATES = profile.long ? 4_000 : 400

/** Two nodes whose tunnel nobody else touches meanwhile. */
const withTunnel = <T>(use: (lab: Lab, one: LabNode, peer: string) => Promise<T>): Promise<T> =>
  withEncryptedMesh({ nodes: 2, families: '4' }, async lab => {
    const one = nodeOf(lab, 1)
    for (const node of lab.nodes) await node.agent.kill()
    return await use(lab, one, (await onNode(one, `wg show ${DEVICE} peers`)).trim())
  })

describeLab('allowed IPs of a peer that carries traffic', { ...meshNeeds, workTakesTime: true }, () => {
  test(
    `${UPDATES} prefixes are added and removed one by one beside a busy one, and nothing is lost`,
    async () => {
      await withTunnel(async (lab, one, peer) => {
        let said = ''
        const report = await measureLoss(lab, async () => {
          const argv = [nodeProgram(), COLD_PREFIXES, DEVICE, peer, String(UPDATES)]
          const { status, stdout, stderr } = await one.exec(argv, { timeoutMs: limit(30_000 + UPDATES * 100) })
          expect(stderr).toBe('')
          expect(status).toBe(0)
          said = stdout.trim()
        })
        tell('allowed IPs one by one', { said, sent: report.sent, lost: report.lost })
        expectNoLoss(report)
      })
    },
    caseLimit(120),
  )

  test(
    'control: where the whole list is replaced again and again, the busy one loses',
    async () => {
      await withTunnel(async (lab, one, peer) => {
        const cold = Array.from({ length: 200 }, (_, index) => `10.99.${index}.0/24`)
        const held = (await onNode(one, `wg show ${DEVICE} allowed-ips`)).trim().split('\t')[1]?.replaceAll(' ', ',')
        const replace = `wg set ${DEVICE} peer ${peer} allowed-ips ${[...cold, held].join(',')}`
        const rounds = 100
        await lab.traffic.start({ rate: profile.rate })
        await waitFor(
          async () => {
            await onNode(one, `for i in $(seq ${rounds}); do ${replace}; done`)
            return (await lab.traffic.snapshot()).missing > 0
          },
          limit(60_000),
          'the replacement to lose something',
        )
        const { sent, lost } = await lab.traffic.stop()
        tell('allowed IPs replaced', { sent, lost })
        expect(lost).toBeGreaterThan(0)
      })
    },
    caseLimit(120),
  )
})
