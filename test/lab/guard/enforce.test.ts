import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { events } from '../cli/podveil.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { keptMesh } from '../mesh/support/kept-mesh.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { nodeOf, untilEncrypted } from '../mesh/support/with-mesh.ts'
import { ClearFrames } from './support/clear-frames.ts'
import { counted, INWARDS, OUTWARDS, setGuard } from './support/cluster.ts'
import { type Fault, faults } from './support/faults.ts'
import { tell } from './support/tell.ts'
import { rate, trafficFor, untilAllArrives, watchWire } from './support/wire.ts'

/** What went wrong is put right again, and all pods hear of each other through the tunnel. */
async function repair(fault: Fault, lab: Lab, one: LabNode, two: LabNode): Promise<void> {
  await fault.undo?.(lab, one, two)
  await Promise.all([one, two].map(node => node.agent.start()))
  await untilEncrypted(lab)
  await untilAllArrives(lab)
}

async function expectSaid(lab: Lab, one: LabNode, { event, metric }: NonNullable<Fault['said']>): Promise<void> {
  const told = async () => (await events(lab)).some(each => event.test(each))
  await waitFor(told, limit(15_000), `an Event ${event}`)
  await waitFor(async () => metric.test(await one.agent.metrics()), limit(10_000), `a metric ${metric}`)
}

describeLab('with the guard on enforce no pod packet crosses the underlay in clear', meshNeeds, () => {
  const withMesh = keptMesh({ nodes: 2 }, lab => setGuard(lab, 'off'))

  test.each(faults.map(fault => ({ fault, name: fault.name, control: fault.leaks ? 'some do' : 'none does either' })))(
    'when $name, agents running or not (control, without the guard: $control)',
    async ({ fault }) => {
      await withMesh(async lab => {
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        const unlucky = fault.dead === 'one' ? one : two
        await lab.traffic.start({ rate })
        await untilAllArrives(lab)
        await unlucky.agent.kill()
        await fault.happen(lab, one, two)
        const control = await trafficFor(lab, 1)
        if (fault.leaks) expect(control.clear).toBeGreaterThan(0)
        else expect(control).toMatchObject({ clear: 0 })
        await repair(fault, lab, one, two)

        await setGuard(lab, 'enforce')
        const before = await trafficFor(lab, 1)
        expect(before.tunnelled).toBeGreaterThan(0)
        await using frames = await ClearFrames.start(lab)
        const sinceEnforced = await watchWire(lab)

        await fault.happen(lab, one, two)
        const alive = await trafficFor(lab, 1)
        if (fault.said) await expectSaid(lab, one, fault.said)
        await repair(fault, lab, one, two)

        await unlucky.agent.kill()
        const dropsBefore = await counted(one, OUTWARDS)
        await fault.happen(lab, one, two)
        const dead = await trafficFor(lab, 1)
        const drops = (await counted(one, OUTWARDS)) - dropsBefore
        await repair(fault, lab, one, two)

        const all = await sinceEnforced()
        tell(fault.name, { control, alive, dead, drops, all })
        expect(all.clear, frames.text).toBe(0)
        expect(all.tunnelled).toBeGreaterThan(0)
        if (fault.leaks) expect(drops).toBeGreaterThan(0)
        else expect(drops + (await counted(two, INWARDS))).toBe(0)
      })
    },
    caseLimit(120),
  )
})
