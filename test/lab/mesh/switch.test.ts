import { expect, test } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import type { Families } from '#src/lab/plan.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { withLab } from '../harness/with-lab.ts'
import { addPeer, makeDevice, steer } from './support/careless-tunnel.ts'
import { traces } from './support/kernel-state.ts'
import { expectNoLoss, measureLoss } from './support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from './support/profile.ts'
import { expectInClear, expectTunnelled, watchUnderlay } from './support/underlay.ts'
import { nodeOf, onNode, turnOff, turnOn, untilEncrypted, withEncryptedMesh, withMesh } from './support/with-mesh.ts'

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
async function expectNoLossInARow(lab: Lab, times: number, rate: number): Promise<void> {
  for (let time = 1; time <= times; time++) {
    expectNoLoss(await measureLoss(lab, () => onAndOff(lab), rate))
    if (time % 2 === 0 || time === times) await expectNoTraces(lab)
  }
  // Nobody else was at work: what an agent did itself it must not take for somebody else's doing.
  for (const node of lab.nodes) expect(node.agent.logs()).not.toContain('somebody else')
}

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

  test.each<{ families: Families; share: number }>([
    { families: '4', share: 1 },
    ...(profile.long
      ? ([
          { families: '6', share: 1 },
          { families: 'dual', share: 0.5 },
        ] as const)
      : []),
  ])(
    `loses nothing between ten nodes, at ${profile.rateOfTen} a second for each pair ($families)`,
    async ({ families, share }) => {
      const times = profile.long ? profile.switches : 1
      await withMesh({ nodes: 10, families }, lab => expectNoLossInARow(lab, times, profile.rateOfTen * share))
    },
    caseLimit(120),
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
