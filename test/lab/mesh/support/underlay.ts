import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import { clearPodFrames, type UnderlaySnapshot, underlayDelta } from '#src/lab/underlay-watch.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit, profile } from './profile.ts'

/** What crosses the underlay in a while of traffic; the while is the measurement, so there is no condition to wait for. */
export async function watchUnderlay(lab: Lab, milliseconds: number = profile.watchMs): Promise<UnderlaySnapshot> {
  const before = await lab.underlay.snapshot()
  await delay(milliseconds)
  return underlayDelta(before, await lab.underlay.snapshot())
}

/**
 * Holds a mesh that is encrypted to it, on the wire: of every family there are tunnelled packets, and none of a pod in
 * clear. What was on its way when the last pair turned may arrive first.
 */
export async function expectTunnelled(lab: Lab): Promise<void> {
  const quiet = async () => clearPodFrames(await watchUnderlay(lab, 50)) === 0
  await waitFor(quiet, limit(2_000), 'the last packets in clear to arrive')
  const seen = await watchUnderlay(lab)
  expect(seen).toMatchObject({ podClear4: { packets: 0 }, podClear6: { packets: 0 } })
  for (const family of lab.plan.families) expect(seen[`wireguard${family}`].packets).toBeGreaterThan(0)
}

/** The reverse: pods are in clear again, in every family. */
export async function expectInClear(lab: Lab): Promise<void> {
  const seen = await watchUnderlay(lab)
  for (const family of lab.plan.families) expect(seen[`podClear${family}`].packets).toBeGreaterThan(0)
}
