import { expect, test } from 'vitest'
import type { LabNode } from '#src/lab/lab.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { limit, meshNeeds } from './support/profile.ts'
import { nodeOf, onNode, withEncryptedMesh } from './support/with-mesh.ts'

describeLab('echoes through the tunnel', meshNeeds, () => {
  test('show the loss of the pair that loses, to both of its agents, and none of the others', async () => {
    await withEncryptedMesh({ nodes: 3, families: '4' }, async lab => {
      const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
      await lab.traffic.start({ rate: 5 })
      // Before anything is lost, nothing is: what comes after is the work of the rule.
      await waitFor(
        async () => {
          expect([await loss(one, 'node-2'), await loss(two, 'node-1'), await loss(one, 'node-3')]).toEqual([0, 0, 0])
          return true
        },
        limit(90_000),
        'every pair to be measured, without loss',
      )
      expect(await figure(one, 'podveil_echo_round_trip_seconds', 'node-2')).toBeGreaterThan(0)

      await losePart(two, one, 4)
      await waitFor(
        async () => {
          expect(await loss(one, 'node-2')).toBeGreaterThan(0)
          expect(await loss(two, 'node-1')).toBeGreaterThan(0)
          return true
        },
        limit(120_000),
        'the loss to be seen from both ends',
      )
      expect(await loss(one, 'node-3')).toBe(0)
      expect(await loss(three, 'node-2')).toBe(0)
      await lab.traffic.stop()
    })
  })
})

const loss = (node: LabNode, peer: string) => figure(node, 'podveil_echo_loss_ratio', peer)

/** @returns undefined where the agent does not know it */
async function figure(node: LabNode, metric: string, peer: string): Promise<number | undefined> {
  const line = (await node.agent.metrics()).split('\n').find(line => line.startsWith(`${metric}{peer="${peer}",`))
  return line === undefined ? undefined : Number(line.split(' ').at(-1))
}

/** Of the tunnel's packets, what comes from a node is lost in part on its way in. @param tenths how much of it */
async function losePart(at: LabNode, from: LabNode, tenths: number): Promise<void> {
  const rule = `ip saddr ${from.addresses[0]} udp dport 51820 numgen random mod 10 < ${tenths} drop`
  await onNode(
    at,
    `nft 'table inet test_loss { chain input { type filter hook prerouting priority -310; policy accept; ${rule}; }; }'`,
  )
}
