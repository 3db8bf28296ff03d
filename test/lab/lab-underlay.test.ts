import { expect, test } from 'vitest'
import { clearPodFrames, underlayDelta, wireguardFrames } from '#src/lab/underlay-watch.ts'
import { tunnelByHand } from './harness/hand-made-tunnel.ts'
import { describeLab } from './harness/requirements.ts'
import { waitFor } from './harness/wait-for.ts'
import { withLab } from './harness/with-lab.ts'

describeLab('the underlay watcher', { programs: ['tcpdump', 'wg'], userspaceWireGuard: true }, () => {
  test('sees every datagram of a pod that goes in clear: counters, capture and canary agree with the meter', async () => {
    await withLab({ agents: false, nodes: 2 }, async lab => {
      await lab.traffic.prepare()
      await using capture = await lab.underlay.capture('udp port 7777')
      const before = await lab.underlay.snapshot()
      await lab.traffic.start({ rate: 200 })
      await waitFor(async () => (await lab.traffic.snapshot()).sent >= 400, 10_000, 'some traffic')
      const { sent } = await lab.traffic.stop()
      const delta = underlayDelta(before, await lab.underlay.snapshot())
      await waitFor(() => capture.counts.frames >= sent, 5_000, 'tcpdump to hand over what it has')
      const seen = await capture.stop()

      expect(clearPodFrames(delta)).toBe(sent)
      expect(seen).toEqual({ frames: sent, readable: sent, dropped: 0 })
      expect(wireguardFrames(delta)).toBe(0)
    })
  })

  test('counts a tunnel as WireGuard, and reads nothing in it', async () => {
    await withLab({ agents: false, nodes: 2 }, async lab => {
      await tunnelByHand(lab)
      await lab.traffic.prepare()
      await using capture = await lab.underlay.capture()
      const before = await lab.underlay.snapshot()
      await lab.traffic.start({ rate: 200 })
      await waitFor(async () => (await lab.traffic.snapshot()).sent >= 400, 10_000, 'some traffic')
      const report = await lab.traffic.stop()
      const delta = underlayDelta(before, await lab.underlay.snapshot())
      const seen = await capture.stop()

      expect(report.lost).toBe(0)
      expect((await lab.steering()).every(pair => pair.encrypted)).toBe(true)
      expect(clearPodFrames(delta)).toBe(0)
      expect(delta.other.packets).toBe(0)
      expect(wireguardFrames(delta)).toBeGreaterThanOrEqual(report.sent)
      expect(seen.frames).toBeGreaterThanOrEqual(report.sent)
      expect(seen.readable).toBe(0)
    })
  })

  test('sees a leak of a few packets beside a tunnel', async () => {
    await withLab({ agents: false, nodes: 2, families: '4' }, async lab => {
      await tunnelByHand(lab)
      const [one, two] = lab.nodes
      await lab.traffic.start({ rate: 200 })
      await waitFor(async () => (await lab.traffic.snapshot()).received > 0, 10_000, 'the first datagram')
      const clear = async () => clearPodFrames(await lab.underlay.snapshot())
      const before = await clear()
      const toPod = `ip route replace ${two?.podCidrs[0]}`
      await one?.exec(['sh', '-c', `${toPod} via ${two?.addresses[0]} dev eth0`])
      await waitFor(async () => (await clear()) > before, 10_000, 'the leak to be seen')
      await one?.exec(['sh', '-c', `${toPod} dev wg-hand`])
      const healed = await clear()
      const { sent } = await lab.traffic.snapshot()
      await waitFor(async () => (await lab.traffic.snapshot()).sent > sent + 100, 10_000, 'more traffic')
      await lab.traffic.stop()
      expect(await clear()).toBe(healed)
    })
  })
})
