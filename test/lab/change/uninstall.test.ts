import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { CONDITION_TYPE } from '#src/cluster/node-condition.ts'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { traces } from '../mesh/support/kernel-state.ts'
import { expectNoLoss, measureLoss } from '../mesh/support/loss.ts'
import { meshAnnotations } from '../mesh/support/node-annotations.ts'
import { caseLimit, limit, meshNeeds } from '../mesh/support/profile.ts'
import { expectInClear, expectTunnelled } from '../mesh/support/underlay.ts'
import { userspaceProcesses } from '../mesh/support/userspace-process.ts'
import { allReady, nodeOf, onNode, turnOff, turnOn, withMesh } from '../mesh/support/with-mesh.ts'
import { expectLoss } from './support/expect-loss.ts'

async function runAgents(nodes: readonly LabNode[], manifest: string): Promise<void> {
  for (const { agent } of nodes) agent.manifest = manifest
  await Promise.all(nodes.map(({ agent }) => agent.restart()))
}

/** As `kubectl apply -k manifests/overlays/cleanup` and `rollout status` do. */
async function cleanUp(nodes: readonly LabNode[]): Promise<void> {
  await runAgents(nodes, 'overlays/cleanup')
  const isClean = ({ agent }: LabNode) => {
    if (agent.pid === undefined) throw new Error(`it has ended: ${agent.logs().trimEnd().split('\n').at(-1)}`)
    // The readiness probe of the manifest.
    return readFileSync(`/proc/${agent.pid}/comm`, 'utf8').trim() === 'sleep'
  }
  for (const node of nodes) await waitFor(() => isClean(node), limit(20_000), `${node.name} to be clean`)
}

/** The Pods are deleted, and all that was applied. */
const removePods = (lab: Lab): Promise<unknown> => Promise.all(lab.nodes.map(({ agent }) => agent.kill('SIGKILL')))

async function conditionTypes(lab: Lab, node: string): Promise<string[]> {
  const { status } = (await lab.client.get(`/api/v1/nodes/${node}`)) as { status?: { conditions?: { type: string }[] } }
  return (status?.conditions ?? []).map(({ type }) => type)
}

/** Everything of Podveil that is left, on the node, in its files and in the API. */
async function left(lab: Lab, node: LabNode): Promise<Record<string, unknown>> {
  const run = join(node.agent.stateDirectory, '../../../../run/wireguard')
  return {
    kernel: await traces(node),
    processes: await userspaceProcesses(node),
    stateDirectory: existsSync(node.agent.stateDirectory) ? readdirSync(node.agent.stateDirectory) : 'none',
    sockets: existsSync(run) ? readdirSync(run) : [],
    annotations: await meshAnnotations(lab, node.name),
    condition: (await conditionTypes(lab, node.name)).filter(type => type === CONDITION_TYPE),
    marksValidated: await marksValidated(node),
  }
}

/** The one sysctl of the host's own that an agent sets. */
const marksValidated = async (node: LabNode): Promise<string> =>
  (await onNode(node, 'cat /proc/sys/net/ipv4/conf/all/src_valid_mark')).trim()

const NOTHING = {
  ...{ kernel: [], processes: [], stateDirectory: 'none', sockets: [], annotations: {}, condition: [] },
  marksValidated: '0',
}

describeLab('uninstalling', meshNeeds, () => {
  test(
    'in its order, under traffic, loses nothing and leaves no trace on any node',
    async () => {
      await withMesh({ nodes: 3, rpFilter: 1 }, async lab => {
        for (const node of lab.nodes) expect(await marksValidated(node)).toBe('0')
        const report = await measureLoss(lab, async () => {
          await runAgents(lab.nodes, 'base')
          await allReady(lab)
          await turnOn(lab)
          await expectTunnelled(lab)
          await turnOff(lab)
          for (const node of lab.nodes) {
            const before = await left(lab, node)
            expect(before.stateDirectory, 'what there is to forget').toContain('keys.json')
            expect(before.marksValidated, 'what there is to put back').toBe('1')
          }
          await cleanUp(lab.nodes)
          await removePods(lab)
          await expectInClear(lab)
        })
        expectNoLoss(report)
        for (const node of lab.nodes) expect(await left(lab, node), node.name).toEqual(NOTHING)
      })
    },
    caseLimit(120),
  )

  test('of nodes whose agents died while they encrypted leaves no trace either, by the names of the configuration (control: without its order it loses)', async () => {
    await withMesh({ nodes: 2 }, async lab => {
      await lab.patchFelix({ wireguardInterfaceName: 'secret0', routeTableRanges: [{ min: 40, max: 60 }] })
      await turnOn(lab)
      await removePods(lab)
      for (const node of lab.nodes) {
        const before = await left(lab, node)
        expect(before.annotations).not.toEqual({})
        expect(before.kernel).not.toEqual([])
        expect((await node.exec(['ip', 'link', 'show', 'secret0'])).status).toBe(0)
      }
      await expectLoss(
        lab,
        'a node is cleaned while the other steers to it',
        () => cleanUp([nodeOf(lab, 1)]),
        () => cleanUp([nodeOf(lab, 2)]),
      )
      await removePods(lab)
      for (const node of lab.nodes) {
        expect(await left(lab, node), node.name).toEqual(NOTHING)
        expect((await node.exec(['ip', 'link', 'show', 'secret0'])).status).not.toBe(0)
        expect((await node.exec(['ip', 'route', 'show', 'table', '40'])).stdout).toBe('')
      }
    })
  })
})
