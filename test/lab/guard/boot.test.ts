import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { LabNode } from '#src/lab/lab.ts'
import { clearPodFrames, underlayDelta } from '#src/lab/underlay-watch.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { AgentLog } from '../mesh/support/agent-log.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { onNode, untilEncrypted } from '../mesh/support/with-mesh.ts'
import { ClearFrames } from './support/clear-frames.ts'
import { counted, guardOf, keptGuardedMesh, OUTWARDS, setGuard } from './support/cluster.ts'
import { tell } from './support/tell.ts'
import { rate, trafficFor, untilAllArrives } from './support/wire.ts'

const withGuarded = keptGuardedMesh()

const PODVEIL = fileURLToPath(new URL('../../../bin/podveil', import.meta.url))

/** What a boot leaves of a node's network: its addresses and its routes to the others, and nothing that an agent made. */
const FORGET = `
  nft flush ruleset
  ip link del wireguard.cali; ip link del wg-v6.cali
  for family in 4 6; do
    for priority in 98 99 100; do ip -$family rule del priority $priority 2>/dev/null || true; done
  done`

const guardFile = (node: LabNode): string => join(node.agent.stateDirectory, 'guard.nft')

describeLab('a node that boots under enforce', meshNeeds, () => {
  test(
    'sends no pod packet in clear before it has an agent, once it has loaded what its last agent left; without, it does',
    async () => {
      await withGuarded('enforce', async (lab, one) => {
        await waitFor(() => existsSync(guardFile(one)), limit(10_000), 'the guard to be written for the next boot')
        await one.agent.kill()
        await onNode(one, FORGET)
        await onNode(one, `nft -f ${guardFile(one)}`)
        await using frames = await ClearFrames.start(lab)
        const before = await lab.underlay.snapshot()
        await lab.traffic.start({ rate })
        const booting = await trafficFor(lab, 1)
        const drops = await counted(one, OUTWARDS)
        await one.agent.start()
        await untilEncrypted(lab)
        await untilAllArrives(lab)
        await lab.traffic.stop()
        const clear = clearPodFrames(underlayDelta(before, await lab.underlay.snapshot()))

        await one.agent.kill()
        await onNode(one, FORGET)
        await lab.traffic.start({ rate })
        const control = await trafficFor(lab, 1)
        tell('boot', { booting, clear, drops, control })
        expect(clear, frames.text).toBe(0)
        expect(drops).toBeGreaterThan(0)
        expect(control.clear).toBeGreaterThan(0)
      })
    },
    caseLimit(60),
  )

  test(
    'loads nothing that was meant for another mode',
    async () => {
      await withGuarded('enforce', async (lab, one) => {
        await waitFor(() => existsSync(guardFile(one)), limit(10_000), 'the guard to be written')
        await setGuard(lab, 'audit')
        await waitFor(() => !existsSync(guardFile(one)), limit(10_000), 'the guard to be taken back')
      })
    },
    caseLimit(60),
  )
})

describeLab('podveil break-glass', meshNeeds, () => {
  const breakGlass = (node: LabNode, ...words: string[]) =>
    node.exec([PODVEIL, 'break-glass', '--state-dir', node.agent.stateDirectory, ...words])

  test(
    'lets pods speak in clear at once, agent or not, says so in the log, and --mend closes it again',
    async () => {
      await withGuarded('enforce', async (lab, one) => {
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        await one.agent.kill()
        await onNode(one, 'ip -4 rule del priority 99; ip -6 rule del priority 99')
        expect(await trafficFor(lab, 0.5)).toMatchObject({ clear: 0 })

        const opened = await breakGlass(one, '--reason', 'nobody reaches\nthe shop')
        expect(opened).toMatchObject({ status: 0, stderr: '' })
        expect(opened.stdout).toContain('podveil break-glass --mend')
        await waitFor(async () => (await trafficFor(lab, 0.2)).clear > 0, limit(10_000), 'traffic in clear')

        const log = new AgentLog(one)
        await one.agent.start()
        await log.says(/the guard was opened on this node by hand \(.*nobody reaches the shop\)/)
        await untilEncrypted(lab)
        expect(await guardOf(one)).toBe('off')

        expect((await breakGlass(one, '--mend')).status).toBe(0)
        await waitFor(async () => (await guardOf(one)) === 'enforce', limit(20_000), 'the guard to be closed again')
      })
    },
    caseLimit(60),
  )
})
