import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { UPLINK } from '#src/lab/topology.ts'
import type { PairReport, TrafficReport } from '#src/lab/traffic.ts'
import { events } from '../cli/podveil.ts'
import { DEVICES } from '../guard/support/cluster.ts'
import { tell } from '../guard/support/tell.ts'
import { createThief, THIEF, THIEF_PODS } from '../guard/support/thief.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { withLab } from '../harness/with-lab.ts'
import { addPeer, CARELESS_DEVICE, makeDevice, steer } from '../mesh/support/careless-tunnel.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { meshAnnotations } from '../mesh/support/node-annotations.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { expectTunnelled } from '../mesh/support/underlay.ts'
import { allReady, nodeOf, onNode, untilEncrypted, withEncryptedMesh, withMesh } from '../mesh/support/with-mesh.ts'
import { expectLoss } from './support/expect-loss.ts'

/** What the third node has no part in, and what it has. */
function split({ pairs }: TrafficReport): { others: Sum; third: Sum } {
  const isThird = ({ source, destination }: PairReport) => [source, destination].includes('pod-3')
  return { others: sum(pairs.filter(pair => !isThird(pair))), third: sum(pairs.filter(isThird)) }
}

interface Sum {
  readonly sent: number
  readonly lost: number
}

const sum = (pairs: readonly PairReport[]): Sum => ({
  sent: pairs.reduce((total, pair) => total + pair.sent, 0),
  lost: pairs.reduce((total, pair) => total + pair.lost, 0),
})

/** Nothing was lost between the two that nothing happened to. */
function expectOthersUnhurt(what: string, report: TrafficReport): void {
  const { others, third } = split(report)
  tell(what, { others, third })
  expect(others.sent).toBeGreaterThan(0)
  expect(others.lost).toBe(0)
}

/** Takes what a boot takes, and leaves the disk. */
async function boot(node: LabNode): Promise<void> {
  await onNode(node, 'ip link del wireguard.cali; ip link del wg-v6.cali; nft flush ruleset')
  await onNode(
    node,
    'for f in 4 6; do for p in 98 99 100; do ip -$f rule del priority $p || true; done; done 2>/dev/null',
  )
}

const encryptedBetween = (lab: Lab, ...pods: string[]): Promise<unknown> =>
  waitFor(
    async () =>
      (await lab.steering()).every(
        ({ source, destination, encrypted }) => encrypted || !pods.includes(source) || !pods.includes(destination),
      ),
    limit(30_000),
    `${pods.join(' and ')} to be encrypted`,
  )

const steered = async (lab: Lab): Promise<string[]> =>
  (await lab.steering())
    .filter(({ encrypted }) => encrypted)
    .map(({ source, destination }) => `${source} ${destination}`)

describeLab('nodes that come and go while pods talk', meshNeeds, () => {
  test(
    'control: by hand, where the others steer to a node before it accepts, and still do when it accepts no more, packets are lost',
    async () => {
      await withLab({ agents: false, nodes: 2, families: '4' }, async lab => {
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        const keys = { one: await makeDevice(one), two: await makeDevice(two) }
        await expectLoss(
          lab,
          'a node that joins by hand',
          async () => {
            await addPeer(one, two, keys.two)
            await steer(one, two)
          },
          async () => {
            await addPeer(two, one, keys.one)
            await steer(two, one)
            await expectTunnelled(lab)
          },
        )
        await expectLoss(
          lab,
          'a node that leaves by hand',
          () => onNode(two, `wg set ${CARELESS_DEVICE} peer ${keys.one} remove`),
          () => onNode(one, `ip route del ${two.podCidrs[0]} dev ${CARELESS_DEVICE}`),
        )
      })
    },
    caseLimit(60),
  )

  test(
    'a node that joins is encrypted to, and nothing is lost, neither between the others nor with it',
    async () => {
      await withMesh({ nodes: 3 }, async lab => {
        const three = nodeOf(lab, 3)
        await three.agent.kill()
        await three.deleteObjects()
        await lab.setEncryption(true)
        await encryptedBetween(lab, 'pod-1', 'pod-2')
        let times = 0
        const report = await measureLoss(lab, async () => {
          if (times++ > 0) throw new Error('a node joins once: the machine was too busy for this case')
          await three.createObjects()
          await three.agent.start()
          await untilEncrypted(lab)
        })
        const { others, third } = split(report)
        tell('a node joins', { others, third })
        expect(others.sent).toBeGreaterThan(0)
        expect([others.lost, third.lost]).toEqual([0, 0])
      })
    },
    caseLimit(60),
  )

  test(
    'nodes that boot believe a key that another Node has copied for the one that calls with it, and nothing is lost',
    async () => {
      await withEncryptedMesh({ nodes: 3 }, async lab => {
        const three = nodeOf(lab, 3)
        const copied = await meshAnnotations(lab, three.name)
        for (const node of lab.nodes) await node.agent.kill()
        for (const node of lab.nodes) await boot(node)
        await createThief(lab, copied)
        for (const node of lab.nodes.slice(0, 2)) await node.agent.start()
        await encryptedBetween(lab, 'pod-1', 'pod-2')
        const accepted = (node: LabNode) =>
          onNode(node, DEVICES.map(device => `wg show ${device} allowed-ips`).join('; '))
        for (const node of lab.nodes.slice(0, 2))
          for (const cidr of [...three.podCidrs, ...THIEF_PODS]) expect(await accepted(node)).not.toContain(cidr)
        let times = 0
        const report = await measureLoss(lab, async () => {
          if (times++ > 0) throw new Error('a node boots once: the machine was too busy for this case')
          await three.agent.start()
          await untilEncrypted(lab)
        })
        tell('nodes boot, and the key of one was copied', split(report))
        expect(report.sent).toBeGreaterThan(0)
        expect(report.lost).toBe(0)
        for (const node of lab.nodes.slice(0, 2)) {
          for (const cidr of three.podCidrs) expect(await accepted(node)).toContain(cidr)
          for (const cidr of THIEF_PODS) expect(await accepted(node)).not.toContain(cidr)
        }
        const told = async () => (await events(lab)).some(each => each.includes(`KeyRefused Node ${THIEF}: `))
        await waitFor(told, limit(15_000), 'an Event that names the Node that has copied it')
      })
    },
    caseLimit(60),
  )

  test(
    'a node that is drained and deleted is let go, comes back, and nothing is lost between the others',
    async () => {
      await withEncryptedMesh({ nodes: 3 }, async lab => {
        const three = nodeOf(lab, 3)
        const report = await measureLoss(lab, async () => {
          await lab.client.mergePatch(`/api/v1/nodes/${three.name}`, { spec: { unschedulable: true } })
          await three.deleteObjects()
          await waitFor(
            async () => (await steered(lab)).every(pair => !pair.endsWith('pod-3')),
            limit(20_000),
            'nobody to steer to the third',
          )
          await three.createObjects()
          await untilEncrypted(lab)
        })
        expectOthersUnhurt('a node is deleted and comes back', report)
      })
    },
    caseLimit(60),
  )

  test(
    'a node that boots, with its disk, is encrypted to again, and nothing is lost between the others',
    async () => {
      await withEncryptedMesh({ nodes: 3 }, async lab => {
        const three = nodeOf(lab, 3)
        const report = await measureLoss(lab, async () => {
          await three.agent.kill()
          await boot(three)
          await three.agent.start()
          await allReady(lab)
          await untilEncrypted(lab)
        })
        expectOthersUnhurt('a node boots', report)
      })
    },
    caseLimit(60),
  )

  test(
    'a node whose address changes is followed to the new one; when it keeps the old one until then, nothing is lost, neither between the others nor with it',
    async () => {
      await withEncryptedMesh({ nodes: 3, families: '4' }, async lab => {
        const three = nodeOf(lab, 3)
        const [old = ''] = three.addresses
        let address = old
        const report = await measureLoss(lab, async () => {
          const next = address === old ? '10.200.0.213' : old
          // Or the kernel takes the new address away with the old one.
          await onNode(three, `echo 1 >/proc/sys/net/ipv4/conf/${UPLINK}/promote_secondaries`)
          await onNode(three, `ip address add ${next}/24 dev ${UPLINK}`)
          const addresses = [{ type: 'InternalIP', address: next }]
          await lab.client.mergePatch(`/api/v1/nodes/${three.name}/status`, { status: { addresses } })
          for (const node of lab.nodes.slice(0, 2))
            await waitFor(
              async () =>
                expect(await onNode(node, 'wg show wireguard.cali allowed-ips')).toContain(`${next}/32`) ?? true,
              limit(20_000),
              `${node.name} to know the new address`,
            )
          // A packet that was on its way from the old address has WireGuard go back there, until the agent looks again.
          const looks = 'for i in 1 2 3 4 5; do wg show wireguard.cali endpoints; sleep 0.1; done'
          for (const node of lab.nodes.slice(0, 2))
            await waitFor(
              async () => expect((await onNode(node, looks)).split(`${next}:51820`)).toHaveLength(6) ?? true,
              limit(30_000),
              `${node.name} to keep to the new address`,
            )
          await onNode(three, `ip address del ${address}/24 dev ${UPLINK}`)
          address = next
          await expectTunnelled(lab)
        })
        tell('a node’s address changes', split(report))
        expectNoLoss(report)
      })
    },
    caseLimit(60),
  )
})
