import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { NODES } from '#src/lab/objects.ts'
import { events } from '../cli/podveil.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { expectNoLoss, measureLoss } from './support/loss.ts'
import { limit, meshNeeds } from './support/profile.ts'
import {
  blockOf,
  changeBlock,
  createBlock,
  createPod,
  deletePod,
  eachBlock,
  echo,
  expectEncrypted,
  giveAddress,
} from './support/sources.ts'
import { nodeOf, onNode, turnOn, untilEncrypted, withMesh } from './support/with-mesh.ts'

const DEVICE = 'wireguard.cali'

/** An address of node 1's block, which a pod of node 2 has. */
const LENT = '10.244.1.20'
const LENT_OFFSET = 20

/** How a pod's packet to this address leaves the node. */
const wayTo = (node: LabNode, address: string): Promise<string> =>
  onNode(node, `ip route get ${address} from ${node.pod.addresses[0]} iif veth-pod`)

const untilSteered = (node: LabNode, address: string, steered = true): Promise<unknown> =>
  waitFor(
    async () => (await wayTo(node, address)).includes(`dev ${DEVICE}`) === steered,
    limit(15_000),
    `${node.name} ${steered ? 'to steer' : 'not to steer'} ${address}`,
  )

async function untilEncryptedTo(lab: Lab, from: readonly Pick<LabNode, 'exec'>[], address: string): Promise<void> {
  for (const one of from)
    await waitFor(async () => (await expectEncrypted(lab, one, address)) ?? true, limit(15_000), 'the way back')
}

const deviceAddress = (node: LabNode): Promise<string> => onNode(node, `ip -4 -o address show dev ${DEVICE}`)

describeLab('with Calico’s IPAM', meshNeeds, () => {
  test('pods are where the blocks say, and an address that another node borrowed is encrypted on its way there', async () => {
    await withMesh({ nodes: 3, families: '4' }, async lab => {
      const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
      await eachBlock(lab)
      await turnOn(lab)
      // Until an agent has seen the first block, the Nodes' pod CIDRs are all that the cluster says.
      for (const node of lab.nodes)
        await waitFor(
          async () => {
            const routes = await onNode(node, 'ip route show table 1')
            expect(routes).toMatch(/^10\.244\.[123]\.0\/26 dev wireguard\.cali/m)
            expect(routes).not.toContain('/24')
            return true
          },
          limit(15_000),
          `${node.name} to go by the blocks`,
        )
      await untilEncrypted(lab)
      expect(await deviceAddress(one)).toContain('10.244.1.2/32')

      await giveAddress(lab, two, LENT)
      // Control: while Calico says that it is node 1's, it goes there in the tunnel, and on from there in clear.
      expect(await echo(lab, three.pod, LENT)).toMatchObject({ clear: 1 })

      const lent = { 10: { node: one.name }, [LENT_OFFSET]: { node: two.name } }
      await changeBlock(lab, blockOf(one), one.name, lent)
      for (const node of [one, three]) await untilSteered(node, LENT)
      // Node 2 answers through the tunnel once it has seen the block, and those whom it answers accept it.
      await untilEncryptedTo(lab, [one.pod, three.pod, one, three], LENT)
      expect(await echo(lab, two, LENT)).toMatchObject({ answered: true, clear: 0 })
    })
  })

  test('a block that moves to another node is steered there', async () => {
    await withMesh({ nodes: 3, families: '4' }, async lab => {
      const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
      await eachBlock(lab)
      const moving = '10.244.77.0/26'
      await createBlock(lab, moving, two.name)
      await turnOn(lab)
      const holder = () => onNode(one, `wg show ${DEVICE} allowed-ips | grep -F ${moving} | cut -f 1`)
      await waitFor(async () => (await holder()) !== '', limit(15_000), 'node 2 to have the block')
      const before = await holder()
      await changeBlock(lab, moving, three.name)
      await waitFor(async () => ![before, ''].includes(await holder()), limit(15_000), 'node 3 to have it')
      await changeBlock(lab, moving, undefined)
      await waitFor(
        async () => !(await onNode(one, 'ip route show table 1')).includes(moving),
        limit(15_000),
        'its end',
      )
    })
  })
})

describeLab('what a node claims beside its block', meshNeeds, () => {
  test('addresses of its IPIP and VXLAN devices are encrypted; a block inside another node’s is refused, and told (control: one elsewhere is its own)', async () => {
    await withMesh({ nodes: 3, families: '4' }, async lab => {
      const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
      await eachBlock(lab)
      await turnOn(lab)

      for (const [device, tunnel] of [
        ['IPIP', '10.65.0.2'],
        ['VXLAN', '10.65.1.2'],
      ] as const) {
        await onNode(two, `ip address add ${tunnel}/32 dev lo`)
        await onNode(one, `ip route add ${tunnel}/32 via ${two.addresses[0]} dev eth0`)
        // Control: before it is known to be the node's, it is spoken to in clear.
        expect((await echo(lab, one.pod, tunnel)).clear).toBeGreaterThan(0)
        const annotations = { [`projectcalico.org/IPv4${device}TunnelAddr`]: tunnel }
        await lab.client.mergePatch(`${NODES}/${two.name}`, { metadata: { annotations } })
        await untilSteered(one, tunnel)
        await untilEncryptedTo(lab, [one.pod], tunnel)
      }

      await createBlock(lab, '10.244.2.0/28', three.name)
      await createBlock(lab, '10.244.66.0/28', three.name)
      await untilSteered(one, '10.244.66.1')
      const told = async () => (await events(lab)).some(event => STOLEN.test(event))
      await waitFor(told, limit(15_000), `an Event ${STOLEN}`)
      expect(await onNode(one, `wg show ${DEVICE} allowed-ips`)).not.toContain('10.244.2.0/28')
      await expectEncrypted(lab, one.pod, two.pod.addresses[0] ?? '')
    })
  })
})

/** The pod of node 2 is in it. */
const STOLEN = /^node-1 ClaimRefused Node node-3: 10\.244\.2\.0\/28 .*lies inside 10\.244\.2\.0\/26 of node-2$/

describeLab('with the Pods’ own addresses', meshNeeds, () => {
  test('each is encrypted as long as its Pod is there, and the devices have addresses that nobody hands out', async () => {
    await withMesh({ nodes: 3, families: '4' }, async lab => {
      const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
      await lab.patchFelix({ routeSource: 'WorkloadIPs' })
      await turnOn(lab)
      await waitFor(
        async () =>
          expect(await onNode(one, 'ip route show table 1')).toMatch(/^10\.244\.2\.10 dev wireguard\.cali/m) ?? true,
        limit(15_000),
        'node 1 to go by the Pods',
      )
      expect(await deviceAddress(one)).toMatch(/ 198\.1[89]\.\d+\.\d+\/32/)

      await giveAddress(lab, two, LENT)
      // Control: of an address of no Pod nothing is known. It is sent to in clear, and what it answers is accepted by nobody.
      expect(await echo(lab, three.pod, LENT)).toMatchObject({ answered: false, clear: 1 })
      await createPod(lab, 'second', two, LENT)
      for (const node of [one, three]) await untilSteered(node, LENT)
      await untilEncryptedTo(lab, [one.pod, three.pod, one, three], LENT)
      await deletePod(lab, 'second')
      await untilSteered(one, LENT, false)
    })
  })
})

describeLab('a change of where pod addresses come from', meshNeeds, () => {
  test('loses nothing of what both say alike', async () => {
    await withMesh({ nodes: 3, families: '4' }, async lab => {
      const [one] = [nodeOf(lab, 1)]
      await turnOn(lab)
      const shows = (what: RegExp) =>
        waitFor(async () => what.test(await onNode(one, 'ip route show table 1')), limit(15_000), String(what))
      const report = await measureLoss(lab, async () => {
        await lab.patchFelix({ routeSource: 'WorkloadIPs' })
        await shows(/^10\.244\.2\.10 dev wireguard\.cali(?![\s\S]*\/24)/m)
        await lab.patchFelix({ routeSource: null })
        await shows(/^10\.244\.2\.0\/24 dev wireguard\.cali(?![\s\S]*10\.244\.2\.10)/m)
      })
      expectNoLoss(report)
    })
  })
})
