import { expect } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { traces } from './kernel-state.ts'
import { expectNoLoss, measureLoss } from './loss.ts'
import { limit } from './profile.ts'
import { expectInClear, expectTunnelled } from './underlay.ts'
import { turnOff, turnOn } from './with-mesh.ts'

/** On and off once, and what crosses the underlay meanwhile. */
async function onAndOff(lab: Lab): Promise<void> {
  await turnOn(lab)
  await expectTunnelled(lab)
  // With the devices go the counters that tell what a machine was too slow for.
  await lab.traffic.noteQueues()
  await turnOff(lab)
  await expectInClear(lab)
  await lab.traffic.noteQueues()
}

/** Nothing that ever was there is there. */
async function expectNoTraces(lab: Lab): Promise<void> {
  for (const node of lab.nodes)
    await waitFor(
      async () => expect(await traces(node)).toEqual([]) ?? true,
      limit(30_000),
      `${node.name} to be as before`,
    )
}

/**
 * Every other time the next switch comes while the mesh still lingers; the others start from nothing.
 * @param rate datagrams a second for each pair and family
 */
export async function expectNoLossInARow(lab: Lab, times: number, rate: number): Promise<void> {
  for (let time = 1; time <= times; time++) {
    expectNoLoss(await measureLoss(lab, () => onAndOff(lab), rate))
    if (time % 2 === 0 || time === times) await expectNoTraces(lab)
  }
  // Nobody else was at work: what an agent did itself it must not take for somebody else's doing.
  for (const node of lab.nodes) expect(node.agent.logs()).not.toContain('somebody else')
}
