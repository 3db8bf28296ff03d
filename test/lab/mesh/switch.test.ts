import { expect, test } from 'vitest'
import type { Families } from '#src/lab/plan.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { withLab } from '../harness/with-lab.ts'
import { addPeer, makeDevice, steer } from './support/careless-tunnel.ts'
import { expectNoLoss, measureLoss } from './support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from './support/profile.ts'
import { expectNoLossInARow } from './support/switching.ts'
import { expectTunnelled, watchUnderlay } from './support/underlay.ts'
import { nodeOf, onNode, untilEncrypted, withEncryptedMesh, withMesh } from './support/with-mesh.ts'

describeLab('turning encryption on and off', meshNeeds, () => {
  test.each<{ families: Families; times: number; name: string }>([
    { families: 'dual', times: profile.switches, name: 'dual stack' },
    { families: '4', times: profile.fewSwitches, name: 'IPv4 alone' },
    { families: '6', times: profile.fewSwitches, name: 'IPv6 alone' },
  ])(
    `loses nothing between three nodes, again and again, at ${profile.rate} a second ($name)`,
    async ({ families, times }) => {
      await withMesh({ nodes: 3, families }, lab => expectNoLossInARow(lab, times, profile.rate))
    },
    caseLimit(180),
  )

  test.each([1, 2] as const)(
    'loses nothing where the underlay’s reverse-path filter is %d',
    async rpFilter => {
      await withMesh({ nodes: 3, families: '4', rpFilter }, lab =>
        expectNoLossInARow(lab, profile.fewSwitches, profile.rate),
      )
    },
    caseLimit(60),
  )
})

describeLab('what would be lost without the care that is taken', meshNeeds, () => {
  test('steering to a node that has no peer for it loses packets until it has', async () => {
    await withLab({ agents: false, nodes: 2, families: '4' }, async lab => {
      const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
      const keys = { one: await makeDevice(one), two: await makeDevice(two) }
      await lab.traffic.start({ rate: Math.min(100, profile.rate) })
      await addPeer(one, two, keys.two)
      await steer(one, two)
      await waitFor(async () => (await lab.traffic.snapshot()).missing > 0, limit(10_000), 'the loss')
      await addPeer(two, one, keys.one)
      await watchUnderlay(lab)
      const report = await lab.traffic.stop()
      expect(report.pairs.find(pair => pair.source === 'pod-1')?.lost).toBeGreaterThan(0)
      expect(report.pairs.find(pair => pair.source === 'pod-2')?.lost).toBe(0)
    })
  })

  test('a strict reverse-path filter drops what one side still sends in clear, but for the mark', async () => {
    await withEncryptedMesh({ nodes: 2, families: '4', rpFilter: 1 }, async lab => {
      const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
      // Nobody is there to repair what is broken now, and the pair stays as it is half-way through a switch.
      for (const node of lab.nodes) await node.agent.kill('SIGKILL')
      await onNode(one, `ip route del ${two.podCidrs[0]} table 1`)
      const halfWay = await measureLoss(lab, async () => void (await watchUnderlay(lab)))
      expectNoLoss(halfWay)
      await onNode(two, 'nft flush chain inet podveil mark_clear')
      const unmarked = await measureLoss(lab, async () => void (await watchUnderlay(lab)), Math.min(100, profile.rate))
      const [there, back] = [1, 2].map(from => unmarked.pairs.find(pair => pair.source === `pod-${from}`))
      expect(there?.received).toBe(0)
      expect(back?.lost).toBe(0)
      // With the agents back it is whole again.
      await Promise.all(lab.nodes.map(node => node.agent.start()))
      await untilEncrypted(lab)
      await waitFor(
        async () =>
          expect(await onNode(two, 'nft list chain inet podveil mark_clear')).toContain('meta mark set') ?? true,
        limit(15_000),
        'the mark to be set again',
      )
      expectNoLoss(await measureLoss(lab, () => expectTunnelled(lab)))
    })
  })
})
