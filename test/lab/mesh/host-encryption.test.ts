import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { LabFiles } from '#src/lab/state.ts'
import { setGuard } from '../guard/support/cluster.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { CARELESS_DEVICE, makeDevice, steeredPackets, steerHost } from './support/careless-tunnel.ts'
import {
  betweenHosts,
  encryptHosts,
  losePower,
  serveApiOn,
  steeredHosts,
  untilHostsEncrypted,
} from './support/hosts.ts'
import { caseLimit, limit, meshNeeds, profile } from './support/profile.ts'
import { ask, PORT, serveEverywhere } from './support/services.ts'
import { watchUnderlay } from './support/underlay.ts'
import { nodeOf, onNode, turnOn, untilEncrypted, withMesh } from './support/with-mesh.ts'

/** Frames between nodes' own addresses that are no WireGuard and do not go to the API server. */
const clearHostFrames = async (lab: Lab): Promise<number> => (await watchUnderlay(lab)).other.packets

const reaches = async (from: LabNode, to: LabNode): Promise<boolean> =>
  (await ask(from.namespace, to.addresses[0] ?? '', PORT)) !== undefined

const filesOf = (lab: Lab): LabFiles => new LabFiles(lab.name)

describeLab('wireguardHostEncryptionEnabled', meshNeeds, () => {
  test.each([1, 2] as const)(
    'turned on and off under traffic between the nodes, with the API server on one of them, loses nothing (reverse-path filter %d)',
    async rpFilter => {
      await withMesh({ nodes: 3, rpFilter }, async lab => {
        await serveApiOn(lab, nodeOf(lab, 1), filesOf(lab))
        await turnOn(lab)
        const report = await betweenHosts(lab, async () => {
          for (let round = 0; round < profile.fewSwitches; round++) {
            // Control: it is in clear before, and again afterwards.
            await waitFor(async () => (await clearHostFrames(lab)) > 0, limit(10_000), 'traffic in clear')
            await encryptHosts(lab, true)
            await waitFor(async () => (await clearHostFrames(lab)) === 0, limit(10_000), 'the last in clear to arrive')
            const two = nodeOf(lab, 2)
            await two.agent.restart('SIGKILL')
            await two.agent.ready(limit(30_000))
            expect(await clearHostFrames(lab)).toBe(0)
            expect((await watchUnderlay(lab)).wireguard4.packets).toBeGreaterThan(0)
            await encryptHosts(lab, false)
          }
          await waitFor(async () => (await clearHostFrames(lab)) > 0, limit(10_000), 'traffic in clear again')
        })
        console.info(`host to host, reverse-path filter ${rpFilter}: ${report.lost.length} of ${report.sent} lost`)
        expect(report).toMatchObject({ lost: [], broken: [] })
        expect(report.sent).toBeGreaterThan(0)
        // The nodes are who they were to each other.
        expect(report.sources).toEqual(lab.nodes.flatMap(({ addresses }) => addresses).toSorted())
        expect(await onNode(nodeOf(lab, 1), 'ip rule; ip -6 rule; nft list table inet podveil')).not.toMatch(
          /iif lo|host_/,
        )
      })
    },
    caseLimit(120),
  )

  test(
    'control: by hand, where one node sends to another by a tunnel before that accepts, packets are lost',
    async () => {
      await withMesh({ nodes: 2, families: '4' }, async lab => {
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        const report = await betweenHosts(lab, async () => {
          await makeDevice(one)
          // It has a device as well, and node 1 for no peer of it.
          await steerHost(one, two, await makeDevice(two))
          await waitFor(async () => (await steeredPackets(one)) > 100, limit(20_000), 'packets to be steered')
          await onNode(one, `ip link del ${CARELESS_DEVICE}`)
          await waitFor(async () => (await clearHostFrames(lab)) > 0, limit(10_000), 'traffic in clear again')
        })
        console.info(`control, by hand: host to host ${report.lost.length} of ${report.sent} lost`)
        expect(report.lost.length).toBeGreaterThan(0)
        expect(report.lost.length).toBeLessThan(report.sent)
      })
    },
    caseLimit(60),
  )

  test(
    'locks nobody out, whoever reboots, with a key or without, and whoever starts first, though the guard enforces',
    async () => {
      await withMesh({ nodes: 3, families: '4', rpFilter: 1 }, async lab => {
        const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
        await serveApiOn(lab, one, filesOf(lab))
        await serveEverywhere(lab)
        await turnOn(lab)
        await encryptHosts(lab, true)
        await setGuard(lab, 'enforce')
        for (const [node, forget] of [
          [one, false],
          [two, true],
          [three, false],
          [one, true],
        ] as const) {
          await losePower(node, { forget })
          // It has no tunnel, and whom it asks has one to it.
          for (const other of lab.nodes) if (other !== node) expect(await reaches(node, other)).toBe(true)
          await node.agent.start()
          await untilEncrypted(lab, limit(60_000))
          await untilHostsEncrypted(lab)
          for (const from of lab.nodes) for (const to of lab.nodes) expect(await reaches(from, to)).toBe(true)
        }

        for (const order of profile.long ? ORDERS : ORDERS.slice(0, 1)) {
          for (const node of lab.nodes) await losePower(node, { forget: true })
          for (const index of order) {
            await nodeOf(lab, index).agent.start()
            await nodeOf(lab, index).agent.ready(limit(60_000))
            for (const from of lab.nodes) for (const to of lab.nodes) expect(await reaches(from, to)).toBe(true)
          }
          await untilHostsEncrypted(lab)
        }

        // Whoever steers to a node is still told its link-layer address by it.
        for (const node of lab.nodes) await onNode(node, 'ip -4 neigh flush all')
        for (const from of lab.nodes) for (const to of lab.nodes) expect(await reaches(from, to)).toBe(true)
        // Control: not, where the strict reverse-path filter judges such a question by the way into the tunnel.
        for (const node of lab.nodes) await node.agent.kill()
        await onNode(three, 'nft delete table arp podveil')
        await onNode(one, 'ip -4 neigh flush all')
        expect(await reaches(one, three)).toBe(false)

        // Control: steered, and without what answers in clear, a node that lost its tunnel is locked out.
        await losePower(three)
        expect(await reaches(three, one)).toBe(true)
        await onNode(one, 'nft delete chain inet podveil host_out')
        expect(await reaches(three, one)).toBe(false)
      })
    },
    caseLimit(240),
  )

  test(
    'falls back to clear text towards a node whose tunnel is dead',
    async () => {
      await withMesh({ nodes: 2, families: '4' }, async lab => {
        const [one, two] = [nodeOf(lab, 1), nodeOf(lab, 2)]
        await serveEverywhere(lab)
        await turnOn(lab)
        await encryptHosts(lab, true)
        await losePower(two)
        // Control: what is begun here goes into the tunnel, at first.
        expect(await reaches(one, two)).toBe(false)
        await waitFor(() => reaches(one, two), limit(60_000), 'node 1 to give up the tunnel')
        expect(await steeredHosts(one)).toEqual([])
        await two.agent.start()
        await untilHostsEncrypted(lab)
        expect(await reaches(one, two)).toBe(true)
      })
    },
    caseLimit(120),
  )

  test(
    'leaves nodes alone that do not have it on',
    async () => {
      await withMesh({ nodes: 3, families: '4' }, async lab => {
        await lab.patchFelix({ wireguardHostEncryptionEnabled: false }, 'node.node-3')
        const [one, two, three] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
        await serveEverywhere(lab)
        await turnOn(lab)
        await lab.patchFelix({ wireguardHostEncryptionEnabled: true })
        await untilHostsEncrypted(lab, [one, two])
        expect(await steeredHosts(one)).toEqual(two.addresses)
        expect(await steeredHosts(three)).toEqual([])
        for (const from of lab.nodes) for (const to of lab.nodes) expect(await reaches(from, to)).toBe(true)
      })
    },
    caseLimit(60),
  )
})

/** Every order in which three nodes can start. The first has the node of the API server last, the hardest of them. */
const ORDERS = [
  [2, 3, 1],
  [1, 2, 3],
  [1, 3, 2],
  [2, 1, 3],
  [3, 1, 2],
  [3, 2, 1],
] as const
