import { expect, test } from 'vitest'
import type { LabNode } from '#src/lab/lab.ts'
import { describeLab } from '../harness/requirements.ts'
import { AgentLog } from './support/agent-log.ts'
import { keptMesh } from './support/kept-mesh.ts'
import { kernelState, settledState } from './support/kernel-state.ts'
import { expectNoLoss, measureLoss } from './support/loss.ts'
import { limit, meshNeeds, profile } from './support/profile.ts'
import { expectInClear, expectTunnelled } from './support/underlay.ts'
import { userspaceProcesses } from './support/userspace-process.ts'
import { nodeOf, onNode, turnOff, turnOn, untilClear } from './support/with-mesh.ts'

const withTwo = keptMesh({ nodes: 2 })
const withThree = keptMesh({ nodes: 3 })

const publicKeys = (node: LabNode) => onNode(node, 'wg show all public-key')

describeLab('an agent that ends and comes back', meshNeeds, () => {
  test('killed and started again it has the same key, and nothing is lost', async () => {
    await withThree(async lab => {
      const node = nodeOf(lab, 1)
      const keys = await publicKeys(node)
      const report = await measureLoss(lab, async () => {
        await node.agent.kill('SIGKILL')
        await expectTunnelled(lab)
        const log = new AgentLog(node)
        await node.agent.start()
        await node.agent.ready(limit(30_000))
        await expectTunnelled(lab)
        expect(log.matching(/made new private keys/)).toEqual([])
      })
      expectNoLoss(report)
      expect(await publicKeys(node)).toBe(keys)
    })
  })

  test('all agents killed at once and started again lose nothing', async () => {
    await withThree(async lab => {
      const report = await measureLoss(lab, async () => {
        await Promise.all(lab.nodes.map(node => node.agent.kill('SIGKILL')))
        await expectTunnelled(lab)
        await Promise.all(lab.nodes.map(node => node.agent.start()))
        await Promise.all(lab.nodes.map(node => node.agent.ready(limit(30_000))))
        await expectTunnelled(lab)
      })
      expectNoLoss(report)
    })
  })

  test('killed while encryption is being turned on or off, it finishes when it is back, and nothing is lost', async () => {
    await withThree(async lab => {
      const node = nodeOf(lab, 2)
      const report = await measureLoss(lab, async () => {
        await lab.setEncryption(false)
        await node.agent.kill('SIGKILL')
        await node.agent.start()
        await untilClear(lab)
        await expectInClear(lab)
        await lab.setEncryption(true)
        await node.agent.kill('SIGKILL')
        await node.agent.start()
        await turnOn(lab)
        await expectTunnelled(lab)
      })
      expectNoLoss(report)
    })
  })

  test('SIGTERM changes nothing in the kernel, and nor does the next start', async () => {
    await withTwo(async lab => {
      const node = nodeOf(lab, 1)
      const before = await settledState(node)
      const report = await measureLoss(lab, async () => {
        const log = new AgentLog(node)
        await node.agent.kill('SIGTERM')
        expect(log.matching(/^stopping; the kernel keeps what was set$/)).toHaveLength(1)
        expect(log.matching(/./).filter(({ level }) => level > 30)).toEqual([])
        await expectTunnelled(lab)
        expect(await kernelState(node)).toEqual(before)
        await node.agent.start()
        await node.agent.ready(limit(30_000))
        expect(await kernelState(node)).toEqual(before)
      })
      expectNoLoss(report)
    })
  })

  test.skipIf(profile.dataplane === 'kernel')(
    'wireguard-go outlives its agent, and the next agent takes it over',
    async () => {
      await withTwo(async lab => {
        const node = nodeOf(lab, 1)
        const processes = await userspaceProcesses(node)
        expect(processes).toHaveLength(2)
        for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
          await node.agent.restart(signal)
          await node.agent.ready(limit(30_000))
          expect(await userspaceProcesses(node)).toEqual(processes)
        }
        await turnOff(lab)
      })
    },
  )
})

describeLab('an API server that goes away and comes back', meshNeeds, () => {
  test('is not missed by traffic, and what is changed when it is back is done', async () => {
    await withThree(async lab => {
      const report = await measureLoss(lab, async () => {
        await lab.api.stop('SIGKILL')
        await expectTunnelled(lab)
        await lab.api.start()
        // Long before every agent has noticed that it is there again.
        await turnOff(lab)
        await expectInClear(lab)
        await turnOn(lab)
        await expectTunnelled(lab)
      })
      expectNoLoss(report)
    })
  })

  test('is waited for by an agent that starts meanwhile, which leaves the tunnel as it is', async () => {
    await withTwo(async lab => {
      const node = nodeOf(lab, 1)
      const before = await settledState(node)
      const report = await measureLoss(lab, async () => {
        await lab.api.stop()
        const log = new AgentLog(node)
        await node.agent.restart('SIGKILL')
        await log.says(/trying again/)
        await expectTunnelled(lab)
        expect((await node.agent.http('/readyz')).status).toBe(503)
        expect(await kernelState(node)).toEqual(before)
        await lab.api.start()
        await node.agent.ready(limit(60_000))
        expect(await kernelState(node)).toEqual(before)
      })
      expectNoLoss(report)
    })
  })
})
