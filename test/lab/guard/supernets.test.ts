import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { POD_SUPERNETS } from '#src/lab/plan.ts'
import { events } from '../cli/podveil.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { AgentLog } from '../mesh/support/agent-log.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { nodeOf, onNode, untilEncrypted, withEncryptedMesh } from '../mesh/support/with-mesh.ts'
import { ClearFrames } from './support/clear-frames.ts'
import { counted, guardOf, OUTWARDS, patchPodveil, setGuard, withGuardedMesh } from './support/cluster.ts'
import { tell } from './support/tell.ts'
import { type OnTheWire, rate, trafficFor, untilAllArrives, watchWire } from './support/wire.ts'

/** Deletes the Node of a machine that runs on, and has all pods send until the others have let it go and a second longer. */
async function deleteNode(lab: Lab, node: LabNode): Promise<OnTheWire> {
  const wire = await watchWire(lab)
  await node.deleteObjects()
  await waitFor(
    async () => (await lab.steering()).every(one => one.destination !== node.pod.name || !one.encrypted),
    limit(20_000),
    `nobody to steer to ${node.name}`,
  )
  await trafficFor(lab, 1)
  return await wire()
}

describeLab('a Node that is deleted while its machine runs on', meshNeeds, () => {
  test(
    'is sent nothing in clear under enforce, nor while it comes back (control, without the guard: its pods are)',
    async () => {
      await withEncryptedMesh({ nodes: 3 }, async lab => {
        const [one, three] = [nodeOf(lab, 1), nodeOf(lab, 3)]
        const comeBack = async () => {
          await three.createObjects()
          await untilEncrypted(lab)
          await untilAllArrives(lab)
        }
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        await setGuard(lab, 'off')
        const control = await deleteNode(lab, three)
        await comeBack()

        await setGuard(lab, 'enforce')
        await trafficFor(lab, 1)
        await using frames = await ClearFrames.start(lab)
        const sinceEnforced = await watchWire(lab)
        const before = await counted(one, OUTWARDS)
        await deleteNode(lab, three)
        const drops = (await counted(one, OUTWARDS)) - before
        await comeBack()
        const all = await sinceEnforced()
        tell('a Node is deleted', { control, all, drops })
        expect(control.clear).toBeGreaterThan(0)
        expect(all.clear, frames.text).toBe(0)
        expect(all.tunnelled).toBeGreaterThan(0)
        expect(drops).toBeGreaterThan(0)
      })
    },
    caseLimit(120),
  )
})

describeLab('enforce', meshNeeds, () => {
  const says = (lab: Lab, words: RegExp): Promise<unknown> =>
    waitFor(async () => (await events(lab)).some(event => words.test(event)), limit(20_000), `an Event ${words}`)

  test(
    'counts while nobody has said what all pods lie in, and says what to set; what is set too narrow is told, and opens nothing',
    async () => {
      await withEncryptedMesh({ nodes: 2, families: '4' }, async lab => {
        const one = nodeOf(lab, 1)
        await patchPodveil(lab, { guard: 'enforce' })
        await says(
          lab,
          /^node-1 GuardNotEnforced guard enforce needs pod supernets: set podSupernets in PodveilConfiguration .*, those of the Nodes lie in 10\.244\.0\.0\/22; it only counts until then$/,
        )
        expect(await guardOf(one)).toBe('audit')

        await setGuard(lab, 'enforce')
        expect(await onNode(one, 'nft list table inet podveil')).toContain(POD_SUPERNETS[4])
        await patchPodveil(lab, { podSupernets: ['10.244.1.0/24'] })
        await says(lab, /^node-1 GuardNotEnforced guard enforce holds 10\.244\.2\.0\/24 of node-2 closed only while/)
        for (const node of lab.nodes) expect(await guardOf(node)).toBe('enforce')
      })
    },
    caseLimit(60),
  )

  test(
    'stays where an agent begins while it cannot read the cluster, and until it has read all of it',
    async () => {
      await withGuardedMesh({ guard: 'enforce' }, async (lab, one) => {
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        await using frames = await ClearFrames.start(lab)
        const wire = await watchWire(lab)
        await lab.api.stop('SIGKILL')
        const log = new AgentLog(one)
        await one.agent.kill()
        // Whatever opens the guard for a moment now shows on the wire.
        await onNode(one, 'ip -4 rule del priority 99; ip -6 rule del priority 99')
        const before = await counted(one, OUTWARDS)
        await one.agent.start()
        await log.says(/trying again/)
        await trafficFor(lab, 1)
        expect(await guardOf(one)).toBe('enforce')
        const drops = (await counted(one, OUTWARDS)) - before
        await lab.api.start()
        await untilEncrypted(lab)
        await untilAllArrives(lab)
        const { clear, tunnelled } = await wire()
        tell('begins without the API server', { clear, tunnelled, drops })
        expect(clear, frames.text).toBe(0)
        expect(drops).toBeGreaterThan(0)
        expect(await guardOf(one)).toBe('enforce')
      })
    },
    caseLimit(90),
  )
})
