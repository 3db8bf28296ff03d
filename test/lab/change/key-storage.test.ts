import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import type { KeyStorage } from '#src/mesh/key-storage.ts'
import { patchPodveil } from '../guard/support/cluster.ts'
import { tell } from '../guard/support/tell.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { AgentLog } from '../mesh/support/agent-log.ts'
import { losePower } from '../mesh/support/hosts.ts'
import { keptMesh } from '../mesh/support/kept-mesh.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { expectTunnelled } from '../mesh/support/underlay.ts'
import { nodeOf, onNode, turnOff, turnOn, untilEncrypted } from '../mesh/support/with-mesh.ts'
import { askForNewKeys, keysOf4, untilRotated } from './support/keys.ts'

const withThree = keptMesh({ nodes: 3, families: '4' }, lab => keepKeys(lab, 'memory'))

/** Private keys of all devices of the node, in every form in which one could be written. */
async function secretsOf(node: LabNode): Promise<Buffer[]> {
  const dump = await onNode(node, 'wg show all private-key')
  const keys = dump
    .trim()
    .split('\n')
    .map(line => line.split('\t')[1] ?? '')
  expect(keys.length).toBeGreaterThan(0)
  return keys.flatMap(key => {
    const bytes = Buffer.from(key, 'base64')
    expect(bytes).toHaveLength(32)
    return [bytes, Buffer.from(key), Buffer.from(bytes.toString('hex'))]
  })
}

/** Files of the node's state directory that hold the private key of one of its devices, and its log where that does. */
async function placesOfKeys(node: LabNode): Promise<string[]> {
  const secrets = await secretsOf(node)
  const holds = (content: Buffer) => secrets.some(secret => content.includes(secret))
  const { stateDirectory } = node.agent
  const places = holds(Buffer.from(node.agent.logs())) ? ['its log'] : []
  const files = await readdir(stateDirectory, { recursive: true, withFileTypes: true })
  for (const file of files.filter(entry => entry.isFile()))
    if (holds(await readFile(join(file.parentPath, file.name)))) places.push(file.name)
  return places
}

/** Returns when every node keeps its keys there. */
async function keepKeys(lab: Lab, storage: KeyStorage): Promise<void> {
  await patchPodveil(lab, { keyStorage: storage })
  const expected = storage === 'disk' ? ['keys.json'] : []
  for (const node of lab.nodes)
    await waitFor(
      async () => expect(await placesOfKeys(node)).toEqual(expected) ?? true,
      limit(20_000),
      `the keys of ${node.name} to be kept in ${storage}`,
    )
}

const allKeys = async (lab: Lab): Promise<string[]> => (await Promise.all(lab.nodes.map(keysOf4))).flat()

async function expectNoKeyOnDisk(lab: Lab): Promise<void> {
  for (const node of lab.nodes) expect(await placesOfKeys(node)).toEqual([])
}

describeLab('private keys that are kept in memory', meshNeeds, () => {
  test(
    'are in no file and no log, and go from the disk and back while pods talk; control: on disk they are found',
    async () => {
      await withThree(async lab => {
        const keys = await allKeys(lab)
        const report = await measureLoss(lab, async () => {
          // Each of these looks for the keys in every file.
          await keepKeys(lab, 'disk')
          await keepKeys(lab, 'memory')
          await expectTunnelled(lab)
        })
        tell('keys go from the disk and back', { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
        expect(await allKeys(lab)).toEqual(keys)
      })
    },
    caseLimit(60),
  )

  test(
    'are those of the kernel for an agent that is killed and started again, and nothing is lost',
    async () => {
      await withThree(async lab => {
        const node = nodeOf(lab, 1)
        const keys = await keysOf4(node)
        const report = await measureLoss(lab, async () => {
          await node.agent.kill('SIGKILL')
          await expectTunnelled(lab)
          const log = new AgentLog(node)
          await node.agent.start()
          await node.agent.ready(limit(30_000))
          await expectTunnelled(lab)
          expect(log.matching(/made new private keys/)).toEqual([])
        })
        tell('keys in memory, agent killed', { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
        expect(await keysOf4(node)).toEqual(keys)
        await expectNoKeyOnDisk(lab)
      })
    },
    caseLimit(60),
  )

  test(
    'go with an agent that was told while it did not run, either way, and nothing is lost',
    async () => {
      await withThree(async lab => {
        const node = nodeOf(lab, 1)
        const keys = await keysOf4(node)
        const report = await measureLoss(lab, async () => {
          for (const storage of ['disk', 'memory'] as const) {
            await node.agent.kill('SIGKILL')
            await patchPodveil(lab, { keyStorage: storage })
            await node.agent.start()
            await keepKeys(lab, storage)
            await expectTunnelled(lab)
          }
        })
        tell('keys go while their agent is away', { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
        expect(await keysOf4(node)).toEqual(keys)
      })
    },
    caseLimit(90),
  )

  test(
    'are others after a reboot, and the mesh is whole again; so they are when encryption was off when an agent started',
    async () => {
      await withThree(async lab => {
        const node = nodeOf(lab, 1)
        const before = await keysOf4(node)
        await losePower(node)
        await node.agent.start()
        await untilEncrypted(lab, limit(60_000))
        const after = await keysOf4(node)
        expect(after).not.toEqual(before)
        await turnOff(lab)
        await waitFor(
          async () => expect(await onNode(node, 'wg show interfaces')).not.toContain('wireguard.cali') ?? true,
          limit(30_000),
          'the device to go',
        )
        await node.agent.restart('SIGKILL')
        await turnOn(lab)
        expect(await keysOf4(node)).not.toEqual(after)
        await expectNoKeyOnDisk(lab)
        expectNoLoss(await measureLoss(lab, () => expectTunnelled(lab)))
      })
    },
    caseLimit(120),
  )

  test(
    'are replaced while pods talk, all at once, and nothing is lost',
    async () => {
      await withThree(async lab => {
        const report = await measureLoss(lab, async () => {
          const old = await allKeys(lab)
          await askForNewKeys(lab)
          for (const [index, node] of lab.nodes.entries()) await untilRotated(lab, node, old[index] ?? '')
          await expectNoKeyOnDisk(lab)
        })
        tell('three rotate, keys in memory', { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
      })
    },
    caseLimit(120),
  )

  test(
    'are replaced though the agent dies in the middle: it finds the next key on the spare device, and nothing is lost',
    async () => {
      await withThree(async lab => {
        const rotating = nodeOf(lab, 1)
        const report = await measureLoss(lab, async () => {
          const [old = ''] = await keysOf4(rotating)
          // With one agent away the change cannot be over before the other one dies.
          await nodeOf(lab, 3).agent.kill('SIGKILL')
          const log = new AgentLog(rotating)
          await askForNewKeys(lab, {}, `node.${rotating.name}`)
          await log.says(/the main device changes as soon as/, limit(30_000))
          const next = await onNode(rotating, 'wg show wg-spare.cali public-key')
          await rotating.agent.kill('SIGKILL')
          expect(await placesOfKeys(rotating)).toEqual([])
          await nodeOf(lab, 3).agent.start()
          await rotating.agent.start()
          await untilRotated(lab, rotating, old)
          expect(await keysOf4(rotating)).toEqual([next.trim()])
        })
        tell('one rotates and dies, keys in memory', { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
      })
    },
    caseLimit(120),
  )

  test(
    'are replaced though the agent dies at each step of it, and nothing is lost',
    async () => {
      await withThree(async lab => {
        const rotating = nodeOf(lab, 1)
        const report = await measureLoss(lab, async () => {
          const [old = ''] = await keysOf4(rotating)
          let log = new AgentLog(rotating)
          await askForNewKeys(lab, {}, `node.${rotating.name}`)
          for (const step of [/replacing the private key/, /the main device changes as soon as/, /has port .* now/]) {
            await log.says(step, limit(30_000))
            await rotating.agent.kill('SIGKILL')
            log = new AgentLog(rotating)
            await rotating.agent.start()
          }
          await untilRotated(lab, rotating, old)
        })
        tell('one rotates and dies at each step, keys in memory', { sent: report.sent, lost: report.lost })
        expectNoLoss(report)
      })
    },
    caseLimit(120),
  )
})
