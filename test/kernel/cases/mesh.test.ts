import { describe, expect, test } from 'vitest'
import { Lab } from '#src/lab/lab.ts'
import { clearPodFrames, underlayDelta, wireguardFrames } from '#src/lab/underlay-watch.ts'
import { waitFor } from '../../lab/harness/wait-for.ts'
import { labName } from '../../lab/harness/with-lab.ts'

/** Everything is some thirteen times slower on an emulated processor. */
const LIMIT = 180_000
/** Datagrams a second for each pair: what the processor carries beside two agents. */
const RATE = 10
/** Milliseconds of traffic between two looks at the underlay. */
const WINDOW = 5_000

const settled = (lab: Lab, encrypted: boolean): Promise<unknown> =>
  waitFor(
    async () => (await lab.steering()).every(pair => pair.encrypted === encrypted),
    LIMIT,
    encrypted ? 'all pairs to be encrypted' : 'all pairs to be in clear',
  )

const trafficFor = (milliseconds: number): Promise<void> => new Promise(resolve => setTimeout(resolve, milliseconds))

describe('two nodes on the kernel’s own WireGuard, with a strict reverse-path filter', () => {
  test('turn encryption on and off, and on again: nothing is lost, and nothing is in clear while it is on', async () => {
    await using lab = await Lab.up({ name: labName(), nodes: 2, families: '4', dataplane: 'kernel', rpFilter: 1 })
    for (const node of lab.nodes) await node.agent.ready(LIMIT)
    await lab.traffic.start({ rate: RATE })
    for (let times = 0; times < 2; times++) {
      await lab.setEncryption(true)
      await settled(lab, true)
      const before = await lab.underlay.snapshot()
      await trafficFor(WINDOW)
      const on = underlayDelta(before, await lab.underlay.snapshot())
      expect([clearPodFrames(on), wireguardFrames(on) > 0]).toEqual([0, true])
      if (times === 0) {
        await lab.setEncryption(false)
        await settled(lab, false)
      }
    }
    const links = await lab.nodes[0]?.exec(['ip', '-d', 'link', 'show', 'type', 'wireguard'])
    expect(links?.stdout).toMatch(/wireguard\.cali: .*mtu 1440/)
    const report = await lab.traffic.stop()
    expect(report.sent).toBeGreaterThan(50)
    expect(report.lost, JSON.stringify(report)).toBe(0)
  })
})
