import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { PacketDrop } from './harness/packet-drop.ts'
import { describeLab } from './harness/requirements.ts'
import { waitFor } from './harness/wait-for.ts'
import { withLab } from './harness/with-lab.ts'

const RATE = 500

describeLab('the traffic meter', {}, () => {
  test('loses nothing by itself at 500 datagrams a second for each pair', async () => {
    await withLab({ agents: false }, async lab => {
      await lab.traffic.start({ rate: RATE, streams: true })
      await waitFor(
        async () => (await lab.traffic.snapshot()).sent >= 12 * RATE * 3,
        20_000,
        'three seconds of traffic',
      )
      const report = await lab.traffic.stop()
      expect(report).toMatchObject({ lost: 0, duplicates: 0, streamFaults: 0, overflowed: 0 })
      expect(report.received).toBe(report.sent)
      expect(report.pairs).toHaveLength(12)
      for (const pair of report.pairs) expect(pair.stream?.echoed).toBeGreaterThan(0)
    })
  })

  test.each([4, 6] as const)(
    'counts exactly what the kernel dropped, for the right pairs, and when (IPv%d)',
    async family => {
      await withLab({ agents: false }, async lab => {
        const [, two] = lab.nodes
        if (!two) throw new Error('no second node')
        await using drop = new PacketDrop(two)
        await lab.traffic.start({ rate: RATE })
        await waitFor(async () => (await lab.traffic.snapshot()).received > 0, 10_000, 'the first datagram')
        const [, address = ''] = [two.pod.addresses[1], two.pod.addresses[family === 4 ? 0 : 1]]
        await drop.start(`${family === 4 ? 'ip' : 'ip6'} daddr ${address} udp dport 7777`)
        // The length of the outage is what is being measured, so it has no condition to wait for.
        await delay(300)
        const dropped = await drop.stop()
        const report = await lab.traffic.stop()

        expect(dropped).toBeGreaterThan(0)
        expect(report.lost).toBe(dropped)
        const hurt = report.pairs.filter(pair => pair.lost > 0)
        expect(hurt.map(pair => [pair.destination, pair.family])).toEqual([
          ['pod-2', family],
          ['pod-2', family],
        ])
        for (const pair of hurt) {
          expect(pair.gaps.reduce((sum, gap) => sum + gap.count, 0)).toBe(pair.lost)
          // The sender kept its rate while nothing arrived: an outage of t milliseconds costs t times the rate.
          expect(pair.longestSilenceMs * RATE).toBeGreaterThanOrEqual((pair.lost - 1) * 1000 * 0.8)
          expect(pair.lost).toBeGreaterThanOrEqual(((300 - report.pausedMs) * RATE * 0.8) / 1000)
        }
      })
    },
  )

  test('shows missing datagrams while it runs, and none that are merely on their way', async () => {
    await withLab({ agents: false, nodes: 2, families: '4' }, async lab => {
      const [, two] = lab.nodes
      if (!two) throw new Error('no second node')
      await using drop = new PacketDrop(two)
      await lab.traffic.start({ rate: RATE })
      await waitFor(async () => (await lab.traffic.snapshot()).elapsedMs > 1_500, 10_000, 'a second and a half')
      expect((await lab.traffic.snapshot()).missing).toBe(0)
      await drop.start('udp dport 7777')
      await waitFor(async () => (await lab.traffic.snapshot()).missing > 0, 5_000, 'the loss to show')
      const dropped = await drop.stop()
      expect((await lab.traffic.stop()).lost).toBe(dropped)
    })
  })

  test('notices a TCP connection that was reset', async () => {
    await withLab({ agents: false, nodes: 2, families: '4' }, async lab => {
      const [, two] = lab.nodes
      if (!two) throw new Error('no second node')
      await using drop = new PacketDrop(two)
      await lab.traffic.start({ rate: 10, streams: true })
      await waitFor(async () => (await lab.traffic.snapshot()).received > 0, 10_000, 'the first datagram')
      await drop.start('tcp dport 7778', 'reject with tcp reset')
      await waitFor(async () => (await lab.traffic.snapshot()).resets > 0, 5_000, 'the reset to show')
      await drop.stop()
      expect((await lab.traffic.stop()).streamFaults).toBeGreaterThan(0)
    })
  })

  test('counts a datagram that its own kernel has no way for as lost', async () => {
    await withLab({ agents: false, nodes: 2, families: '4' }, async lab => {
      await lab.traffic.start({ rate: 100 })
      await waitFor(async () => (await lab.traffic.snapshot()).received > 0, 10_000, 'the first datagram')
      await lab.nodes[0]?.pod.exec(['ip', 'route', 'del', 'default'])
      await waitFor(async () => (await lab.traffic.snapshot()).missing > 0, 5_000, 'the loss to show')
      await lab.nodes[0]?.pod.exec(['ip', 'route', 'add', 'default', 'via', '10.244.1.1', 'dev', 'eth0'])
      const report = await lab.traffic.stop()
      expect(report.lost).toBeGreaterThan(0)
      expect(report.pairs.find(pair => pair.source === 'pod-1')?.refused).toBe(report.lost)
    })
  })

  test('refuses a second measurement while one runs, and not after it', async () => {
    await withLab({ agents: false, nodes: 2, families: '4' }, async lab => {
      const { Traffic } = await import('#src/lab/traffic.ts')
      const { LabFiles } = await import('#src/lab/state.ts')
      const other = new Traffic(lab.plan, new LabFiles(lab.name))
      await lab.traffic.start({ rate: 10 })
      await expect(other.start({ rate: 10 })).rejects.toThrow(/busy/)
      await lab.traffic.stop()
      await other.start({ rate: 10 })
      await other.stop()
      other.close()
    })
  })
})
