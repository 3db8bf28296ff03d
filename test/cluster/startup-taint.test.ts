import { describe, expect, test } from 'vitest'
import { STARTUP_TAINT } from '#src/cluster/startup-taint.ts'
import type { Lab } from '#src/lab/lab.ts'
import { must } from '#src/lab/run.ts'
import { waitUntil } from '#src/lab/wait.ts'
import { conditions } from '../lab/cli/podveil.ts'
import { withLab } from '../lab/harness/with-lab.ts'
import { NODES } from './harness/agents.ts'
import { noRealApi } from './harness/real-api.ts'

const OTHER = 'example.com/dedicated'
const LIMIT_MS = 90_000

/** As a kubelet registers them: `--register-with-taints`. */
async function taint(lab: Lab): Promise<void> {
  const taints = [STARTUP_TAINT, OTHER].map(key => ({ key, value: 'true', effect: 'NoSchedule' }))
  for (const { name } of lab.nodes) await lab.client.mergePatch(`${NODES}/${name}`, { spec: { taints } })
}

async function taints(lab: Lab): Promise<string[][]> {
  const found = lab.nodes.map(async ({ name }) => {
    const { spec } = (await lab.client.get(`${NODES}/${name}`)) as { spec: { taints?: { key: string }[] } }
    return (spec.taints ?? []).map(({ key }) => key)
  })
  return Promise.all(found)
}

describe.skipIf(noRealApi)(`the start-up taint${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  test(
    'stays on both nodes of a pair that cannot prove itself, goes once it has, and takes no other taint along',
    () =>
      withLab({ nodes: 2, families: '4', api: 'real', agents: false }, async lab => {
        const inUnderlay = (...argv: string[]) =>
          must(['ip', 'netns', 'exec', lab.plan.switchNamespace, 'nft', ...argv])
        await inUnderlay(
          'table bridge firewall { chain forward { type filter hook forward priority 0; udp dport 51820 drop; }; }',
        )
        await taint(lab)
        await lab.setEncryption(true)
        for (const { agent } of lab.nodes) await agent.start()
        await waitUntil(
          async () => (await conditions(lab)).every(({ reason }) => reason === 'PeersInClear'),
          LIMIT_MS,
          'both nodes to say that the pair is in clear',
        )
        expect(await taints(lab)).toEqual([
          [STARTUP_TAINT, OTHER],
          [STARTUP_TAINT, OTHER],
        ])

        await inUnderlay('delete', 'table', 'bridge', 'firewall')
        await waitUntil(
          async () => (await taints(lab)).every(keys => !keys.includes(STARTUP_TAINT)),
          LIMIT_MS,
          'the start-up taint to go',
        )
        expect(await taints(lab)).toEqual([[OTHER], [OTHER]])
        expect((await conditions(lab)).map(({ status }) => status)).toEqual(['True', 'True'])
      }),
    240_000,
  )
})
