import { expect } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import { tell } from '../../guard/support/tell.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit, profile } from '../../mesh/support/profile.ts'

/** More than is on its way at a time, and than a device holds back for a peer without a session and sends after all: 128. */
const MISSED = 160

/**
 * The control of a case that loses nothing: the careless way is gone under the same kind of traffic, and mended once packets
 * are missed.
 */
export async function expectLoss(
  lab: Lab,
  what: string,
  careless: () => Promise<unknown>,
  mend: () => Promise<unknown>,
): Promise<void> {
  await lab.traffic.start({ rate: Math.min(100, profile.rate) })
  await waitFor(async () => (await lab.traffic.snapshot()).received > 0, limit(10_000), 'packets to arrive')
  await careless()
  const { missing } = await lab.traffic.snapshot()
  await waitFor(
    async () => (await lab.traffic.snapshot()).missing > missing + MISSED,
    limit(30_000),
    'packets to be missed',
  )
  await mend()
  const { sent, received, lost } = await lab.traffic.stop()
  tell(`control: ${what}`, { sent, lost })
  expect(lost).toBeGreaterThan(0)
  expect(received).toBeGreaterThan(0)
}
