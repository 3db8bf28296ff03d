import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { applyObjects, type KubernetesObject } from '#src/lab/kube-apiserver/apply.ts'
import type { Lab } from '#src/lab/lab.ts'
import { renderKustomization } from '#src/lab/pod/kustomize.ts'
import { must, run } from '#src/lab/run.ts'
import { withLab } from '../lab/harness/with-lab.ts'
import { Kubelets } from './harness/kubelets.ts'
import { noRealApi } from './harness/real-api.ts'
import { Walker } from './walk/walker.ts'

const STAGED = fileURLToPath(new URL('../../manifests/overlays/staged', import.meta.url))
const ROLL_OUT = `${STAGED}/roll-out`

async function staged(lab: Lab): Promise<string[]> {
  const { items } = (await lab.client.get('/api/v1/nodes?labelSelector=podveil.io/stage%3Don')) as unknown as {
    items: { metadata: { name: string } }[]
  }
  return items.map(({ metadata }) => metadata.name)
}

describe.skipIf(noRealApi)(`a staged roll-out${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  test(
    'stops at the first node whose pairs do not prove themselves, and goes on once they do; nothing is lost',
    () =>
      withLab({ nodes: 3, families: '4', api: 'real', agents: false }, async lab => {
        await applyObjects(lab.client, renderKustomization(STAGED) as unknown as KubernetesObject[])
        await lab.setEncryption(true)
        await using _kubelets = new Kubelets(lab)
        using walker = new Walker(lab)
        const inUnderlay = (...argv: string[]) =>
          must(['ip', 'netns', 'exec', lab.plan.switchNamespace, 'nft', ...argv])
        await inUnderlay(
          'table bridge firewall { chain forward { type filter hook forward priority 0; ip saddr 10.200.0.12 udp dport 51820 drop; }; }',
        )
        await lab.traffic.start({ rate: 20, streams: false })
        const stopped = await walker.once({ run: `${ROLL_OUT} --wait 15` })
        expect(stopped.output).toMatch(/node-2 encrypts to 0 of 1[\s\S]*stopped: not proven within 15 s/)
        expect(stopped.status).toBe(1)
        expect(await staged(lab)).toEqual(['node-1', 'node-2'])

        await inUnderlay('delete', 'table', 'bridge', 'firewall')
        const done = await walker.once({ run: `${ROLL_OUT} --wait 40` })
        expect(done.output).toMatch(/agents for node-3\nall of 3 encrypt to each other/)
        expect(done.status).toBe(0)
        expect((await lab.steering()).every(({ encrypted }) => encrypted)).toBe(true)
        expect((await lab.traffic.stop()).lost).toBe(0)
      }),
    300_000,
  )

  test.each([
    ['--batch 0', /--batch takes a whole number from 1/],
    ['--hurry', /no such option: --hurry/],
  ])('%s is refused in one line', async (flags, message) => {
    const { status, stderr } = await run(['sh', '-c', `${ROLL_OUT} ${flags}`])
    expect(stderr).toMatch(message)
    expect(status).toBe(1)
  })
})
