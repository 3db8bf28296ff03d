import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import type { Steering } from '#src/lab/steering.ts'
import { tell } from '../guard/support/tell.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { expectNoLoss, measureLoss, measureOnce, untilSent } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from '../mesh/support/profile.ts'
import {
  changeBlock,
  createBlock,
  createPod,
  deletePod,
  eachBlock,
  expectEncrypted,
  giveAddress,
  takeAddress,
} from '../mesh/support/sources.ts'
import { nodeOf, onNode, untilEncrypted, withEncryptedMesh, withMesh } from '../mesh/support/with-mesh.ts'

const DEVICE = 'wireguard.cali'

/** Has the address that moves, in whatever form the cluster says so. */
const MOVING_BLOCK = '10.244.77.0/26'
const MOVING = '10.244.77.20'

interface Source {
  readonly name: string
  /** What says where pods are, told of the lab's own ones; the address is the first holder's. */
  begin(lab: Lab, first: LabNode): Promise<unknown>
  move(lab: Lab, to: LabNode): Promise<unknown>
  /** As WireGuard has it. */
  readonly prefix: string
}

const POD = 'moving'
/** Datagrams of all pairs after each move. */
const AFTERWARDS = 60
const TIMES = profile.long ? 20 : 2

const sources: readonly Source[] = [
  {
    name: 'a block of Calico’s IPAM',
    begin: async (lab, first) => {
      await eachBlock(lab)
      await createBlock(lab, MOVING_BLOCK, first.name)
    },
    move: (lab, to) => changeBlock(lab, MOVING_BLOCK, to.name),
    prefix: MOVING_BLOCK,
  },
  {
    name: 'the address of a Pod',
    begin: async (lab, first) => {
      await lab.patchFelix({ routeSource: 'WorkloadIPs' })
      await createPod(lab, POD, first, MOVING)
    },
    move: async (lab, to) => {
      await deletePod(lab, POD)
      await createPod(lab, POD, to, MOVING)
    },
    prefix: `${MOVING}/32`,
  },
]

/** Every other node sends what is for the prefix to this one, and accepts it from there. */
async function untilHeldBy(holder: LabNode, prefix: string, others: readonly LabNode[]): Promise<void> {
  const key = await waitFor(
    async () => /^\S{44}$/.exec((await onNode(holder, `wg show ${DEVICE} public-key`)).trim())?.[0],
    limit(30_000),
    `${holder.name} to have a key`,
  )
  for (const node of others)
    await waitFor(
      async () => {
        const peers = (await onNode(node, `wg show ${DEVICE} allowed-ips`)).split('\n')
        expect(peers.filter(line => line.split(/\s/).includes(prefix)).map(line => line.split('\t')[0])).toEqual([key])
        return (await onNode(node, 'ip route show table 1')).includes(prefix.replace('/32', ''))
      },
      limit(20_000),
      `${node.name} to have ${prefix} with ${holder.name}`,
    )
  await waitFor(
    async () => (await onNode(holder, 'ip rule')).includes(prefix.replace('/32', '')),
    limit(20_000),
    `${holder.name} to know of ${prefix}`,
  )
}

async function expectReached(lab: Lab, from: readonly LabNode[], address: string): Promise<void> {
  for (const { pod } of from) await expectEncrypted(lab, pod, address)
}

describeLab('addresses that move from one node to another while pods talk', meshNeeds, () => {
  test.each(sources)(
    `$name, there and back, ${TIMES} times: it is reached at its new owner, encrypted, and nothing is lost between the others`,
    async ({ name, begin, move, prefix }) => {
      await withEncryptedMesh({ nodes: 3, families: '4' }, async lab => {
        const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
        await giveAddress(lab, two, MOVING)
        await begin(lab, two)
        await untilHeldBy(two, prefix, [one, three])
        await untilEncrypted(lab)
        await expectReached(lab, [one, three], MOVING)
        const report = await measureLoss(lab, async () => {
          for (let moves = 0; moves < 2 * TIMES; moves++) {
            const [from, to] = moves % 2 === 0 ? [two, three] : [three, two]
            await takeAddress(from, MOVING)
            await giveAddress(lab, to, MOVING)
            await move(lab, to)
            await untilHeldBy(to, prefix, [one, from])
            await expectReached(lab, [one, from], MOVING)
            await untilSent(lab, AFTERWARDS)
          }
        })
        tell(`${name} moves`, { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
      })
    },
    caseLimit(60),
  )

  test(
    'the pod CIDR of a node that is gone, which one that joins is given: it is reached there, and nothing is lost between the others',
    async () => {
      await withMesh({ nodes: 4, families: '4' }, async lab => {
        const [one, two, leaving, joining] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3), nodeOf(lab, 4)]
        const [cidr = ''] = leaving.podCidrs
        const address = cidr.replace('.0/24', '.20')
        await joining.agent.kill()
        await joining.deleteObjects()
        await lab.setEncryption(true)
        const there = [one, two, leaving].map(({ pod }) => pod.name)
        const encrypted = ({ source, destination, encrypted }: Steering) =>
          encrypted || !there.includes(source) || !there.includes(destination)
        await waitFor(async () => (await lab.steering()).every(encrypted), limit(30_000), 'three to be encrypted')
        await giveAddress(lab, joining, address)
        const report = await measureOnce(lab, async () => {
          await leaving.agent.kill()
          await onNode(leaving, 'ip link set eth0 down')
          await leaving.deleteObjects()
          await joinWith(lab, joining, cidr)
          await untilHeldBy(joining, cidr, [one, two])
          await untilSent(lab, AFTERWARDS)
        })
        // Not before: the lab's own pod there has an address of no Node now, and is sent to in clear.
        await expectReached(lab, [one, two], address)
        const others = report.pairs.filter(
          ({ source, destination }) => ['pod-1', 'pod-2'].includes(source) && ['pod-1', 'pod-2'].includes(destination),
        )
        const sent = others.reduce((sum, pair) => sum + pair.sent, 0)
        const lost = others.reduce((sum, pair) => sum + pair.lost, 0)
        tell('a pod CIDR is given to another node', { sent, lost })
        expect(sent).toBeGreaterThan(0)
        expect(lost).toBe(0)
      })
    },
    caseLimit(90),
  )
})

/** A machine joins, and the controller manager gives its Node this pod CIDR. */
async function joinWith(lab: Lab, node: LabNode, cidr: string): Promise<void> {
  await lab.client.create('/api/v1/nodes', {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: node.name },
    spec: { podCIDR: cidr, podCIDRs: [cidr] },
    status: { addresses: node.addresses.map(address => ({ type: 'InternalIP', address })) },
  })
  await node.agent.start()
}
