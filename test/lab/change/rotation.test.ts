import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { events } from '../cli/podveil.ts'
import { DEVICES } from '../guard/support/cluster.ts'
import { tell } from '../guard/support/tell.ts'
import { untilAllArrives } from '../guard/support/wire.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { AgentLog } from '../mesh/support/agent-log.ts'
import { keptMesh } from '../mesh/support/kept-mesh.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds, profile } from '../mesh/support/profile.ts'
import { expectTunnelled, watchUnderlay } from '../mesh/support/underlay.ts'
import { nodeOf, onNode, untilEncrypted, withEncryptedMesh } from '../mesh/support/with-mesh.ts'
import { askForNewKeys, keysOf4, untilRotated } from './support/keys.ts'

const withTwo = keptMesh({ nodes: 2, families: '4' }, lab => lab.patchFelix({ wireguardMTU: null }))
const withThree = keptMesh({ nodes: 3, families: '4' })

const RATE = profile.usualRate
/** Seconds for which one node's agent does not run while another one rotates. */
const LAG = profile.long ? 60 : 8

/** Public keys of the main devices, as the kernel has them. */
async function keysOf(node: LabNode): Promise<string[]> {
  const script = DEVICES.map(device => `wg show ${device} public-key`).join('; ')
  return (await onNode(node, script)).trim().split('\n')
}

const everyKey = async (lab: Lab): Promise<string[]> => (await Promise.all(lab.nodes.map(keysOf))).flat()

/** All nodes have keys other than these, and traffic is on the main devices again. */
async function untilReplaced(lab: Lab, nodes: readonly LabNode[], old: readonly string[]): Promise<void> {
  for (const node of nodes)
    await waitFor(
      async () => {
        for (const key of await keysOf(node)) expect(old).not.toContain(key)
        return true
      },
      limit(60_000),
      `${node.name} to have new keys`,
    )
  await untilSpareIsGone(lab)
}

const untilSpareIsGone = (lab: Lab): Promise<unknown> =>
  Promise.all(
    lab.nodes.map(node =>
      waitFor(
        async () => expect((await onNode(node, 'wg show interfaces')).trim().split(' ')).toHaveLength(2) ?? true,
        limit(60_000),
        `the spare devices of ${node.name} to go`,
      ),
    ),
  )

/** No device and no file of any node has one of these any more. */
async function expectNowhere(lab: Lab, keys: readonly string[]): Promise<void> {
  for (const node of lab.nodes) {
    const known = await onNode(node, `wg show all dump; cat ${node.agent.stateDirectory}/keys.json`)
    for (const key of keys) expect(known).not.toContain(key)
  }
}

describeLab('private keys replaced while pods talk', meshNeeds, () => {
  test(
    'three nodes at once: nothing is lost or in clear, and the old keys are nowhere',
    async () => {
      await withEncryptedMesh({ nodes: 3 }, async lab => {
        let clear = 0
        const report = await measureLoss(
          lab,
          async () => {
            const old = await everyKey(lab)
            const before = await lab.underlay.snapshot()
            await askForNewKeys(lab)
            await untilReplaced(lab, lab.nodes, old)
            const after = await lab.underlay.snapshot()
            clear +=
              after.podClear4.packets + after.podClear6.packets - before.podClear4.packets - before.podClear6.packets
            await expectNowhere(lab, old)
            await expectTunnelled(lab)
          },
          RATE,
        )
        tell('three nodes rotate at once', { sent: report.sent, lost: report.lost, clear })
        expectNoLoss(report)
        expect(clear).toBe(0)
        for (const node of lab.nodes) expect(node.agent.logs()).not.toContain('somebody else')
      })
    },
    caseLimit(120),
  )

  test(
    `one node, while another’s agent is away for ${LAG} s: it waits, and nothing is lost`,
    async () => {
      await withThree(async lab => {
        const [rotating, , lagging] = [nodeOf(lab, 1), nodeOf(lab, 2), nodeOf(lab, 3)]
        const report = await measureLoss(
          lab,
          async () => {
            const [old = ''] = await keysOf4(rotating)
            await lagging.agent.kill('SIGKILL')
            const log = new AgentLog(rotating)
            await askForNewKeys(lab, {}, `node.${rotating.name}`)
            await log.says(/the main device changes as soon as .*node-3/, limit(30_000))
            await elapse(lab, LAG * 1_000)
            expect(await keysOf4(rotating)).toEqual([old])
            await lagging.agent.start()
            await untilRotated(lab, rotating, old)
          },
          RATE,
        )
        tell('one rotates, one lags', { lag: LAG, sent: report.sent, lost: report.lost })
        expectNoLoss(report)
        for (const reason of ['KeyRotationStarted', 'KeyRotated']) {
          const told = async () => (await events(lab)).filter(event => event.includes(` ${reason} `))
          await waitFor(async () => (await told()).length > 0, limit(60_000), `an Event ${reason}`)
          // The others have keys as old, and were not asked for new ones.
          expect((await told()).filter(event => !event.startsWith('node-1 '))).toEqual([])
        }
      })
    },
    caseLimit(LAG + 90),
  )

  test(
    'one node, whose agent dies in the middle: it goes on from there, and nothing is lost',
    async () => {
      await withThree(async lab => {
        const rotating = nodeOf(lab, 1)
        const report = await measureLoss(
          lab,
          async () => {
            const [old = ''] = await keysOf4(rotating)
            // With one agent away the change cannot be over before the other one dies.
            await nodeOf(lab, 3).agent.kill('SIGKILL')
            const log = new AgentLog(rotating)
            await askForNewKeys(lab, {}, `node.${rotating.name}`)
            await log.says(/the main device changes as soon as/, limit(30_000))
            await rotating.agent.kill('SIGKILL')
            await nodeOf(lab, 3).agent.start()
            await rotating.agent.start()
            await untilRotated(lab, rotating, old)
          },
          RATE,
        )
        tell('one rotates and dies', { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
      })
    },
    caseLimit(120),
  )

  test('one node, with patience for nobody: who does not follow loses packets, never in clear, until it does', async () => {
    await withTwo(async lab => {
      const [rotating, lagging] = [nodeOf(lab, 1), nodeOf(lab, 2)]
      const [old = ''] = await keysOf4(rotating)
      await lagging.agent.kill('SIGKILL')
      await lab.traffic.start({ rate: Math.min(50, RATE) })
      const before = await lab.underlay.snapshot()
      const log = new AgentLog(rotating)
      await askForNewKeys(lab, { patience: '1s' }, `node.${rotating.name}`)
      await log.says(/without waiting any longer for node-2: they lose packets/, limit(30_000))
      await waitFor(async () => (await lab.traffic.snapshot()).missing > 0, limit(30_000), 'the loss')
      await lagging.agent.start()
      // Who follows late steers all the while, to a key that is no more.
      await untilRotated(lab, rotating, old)
      await untilEncrypted(lab)
      // Both call each other now, and calls that cross cost seconds.
      await untilAllArrives(lab)
      await lab.traffic.stop()
      const after = await lab.underlay.snapshot()
      expect(after.podClear4.packets - before.podClear4.packets).toBe(0)
      expectNoLoss(await measureLoss(lab, () => expectTunnelled(lab), RATE))
    })
  })

  test('a node whose port for the spare device is taken keeps its key and says so, and rotates when it is free', async () => {
    await withTwo(async lab => {
      const rotating = nodeOf(lab, 1)
      const old = await keysOf4(rotating)
      const squatter = 'require("dgram").createSocket("udp4").bind(51822, "0.0.0.0"); setTimeout(() => {}, 120_000)'
      const pid = await onNode(rotating, `${process.execPath} -e '${squatter}' >/dev/null 2>&1 & echo $!`)
      try {
        await waitFor(async () => (await onNode(rotating, 'ss -Hlun sport = :51822')) !== '', limit(15_000), 'the port')
        const report = await measureLoss(
          lab,
          async () => {
            const log = new AgentLog(rotating)
            await askForNewKeys(lab, { patience: '1s' }, `node.${rotating.name}`)
            await log.says(/wg-spare\.cali: port 51822\/udp is taken by another program or device/, limit(30_000))
            // All else goes on.
            await lab.patchFelix({ wireguardMTU: 1300 })
            await waitFor(
              async () => expect(await onNode(rotating, 'ip link show wireguard.cali')).toContain('mtu 1300') ?? true,
              limit(15_000),
              'the MTU to be set',
            )
            expect(await keysOf4(rotating)).toEqual(old)
          },
          RATE,
        )
        expectNoLoss(report)
      } finally {
        await onNode(rotating, `kill ${pid.trim()} || true`)
      }
      await waitFor(async () => expect(await keysOf4(rotating)).not.toEqual(old) ?? true, limit(60_000), 'new key')
    })
  })

  test('control: a key that is written to a device in use loses packets', async () => {
    await withTwo(async lab => {
      for (const node of lab.nodes) await node.agent.kill('SIGKILL')
      await lab.traffic.start({ rate: Math.min(100, RATE) })
      await onNode(nodeOf(lab, 1), 'wg genkey | wg set wireguard.cali private-key /dev/stdin')
      await waitFor(async () => (await lab.traffic.snapshot()).missing > 0, limit(30_000), 'the loss')
      await watchUnderlay(lab)
      expect((await lab.traffic.stop()).lost).toBeGreaterThan(0)
    })
  })
})

async function elapse(lab: Lab, milliseconds: number): Promise<void> {
  const elapsed = async () => (await lab.traffic.snapshot()).elapsedMs
  const until = (await elapsed()) + milliseconds
  await waitFor(async () => (await elapsed()) >= until, milliseconds + limit(10_000), 'time to pass')
}
