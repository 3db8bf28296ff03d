import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { JsonObject } from '#src/lab/apiserver/json.ts'
import { Lab, type LabNode } from '#src/lab/lab.ts'
import { renderKustomization } from '#src/lab/pod/kustomize.ts'
import { describeLab } from '../harness/requirements.ts'
import { waitFor } from '../harness/wait-for.ts'
import { labName } from '../harness/with-lab.ts'

const BASE = fileURLToPath(new URL('../../../manifests/base', import.meta.url))
const LIMIT_MS = 60_000
const machine = existsSync('/etc/machine-id') ? readFileSync('/etc/machine-id', 'utf8').trim() : ''

interface Pod {
  automountServiceAccountToken?: boolean
  containers: {
    securityContext: { capabilities: { add: string[] } }
    volumeMounts: { name: string }[]
  }[]
}

/** What the manifest has of the DaemonSet's pod, less what `take` takes. */
function less(take: (pod: Pod) => void): JsonObject[] {
  const objects = structuredClone(renderKustomization(BASE)) as JsonObject[]
  for (const object of objects)
    if (object.kind === 'DaemonSet')
      take((object as unknown as { spec: { template: { spec: Pod } } }).spec.template.spec)
  return objects
}

const mount = (name: string) => (pod: Pod) => {
  for (const container of pod.containers)
    container.volumeMounts = container.volumeMounts.filter(each => each.name !== name)
}

const capabilities = (pod: Pod): void => {
  for (const { securityContext } of pod.containers) securityContext.capabilities.add = []
}

const token = (pod: Pod): void => {
  pod.automountServiceAccountToken = false
}

const NEEDED: { readonly what: string; readonly take: (pod: Pod) => void; readonly says: RegExp }[] = [
  { what: 'NET_ADMIN', take: capabilities, says: /CAP_NET_ADMIN/ },
  { what: 'its token', take: token, says: /serviceaccount\/token: cannot be read/ },
  { what: 'the directory of its keys', take: mount('state'), says: /"pass-failed".*private keys: / },
  {
    what: 'the sockets of devices in user space',
    take: mount('wireguard'),
    says: /"pass-failed".*\/var\/run\/wireguard/,
  },
  { what: 'the host’s sysctls', take: mount('proc-sys-net'), says: /"kernel-degraded".*cannot set/ },
]
const WHOLE = NEEDED.length
const ANONYMOUS = WHOLE + 1

/** Machine that the private keys are bound to; undefined while there are none. */
function boundTo({ agent }: LabNode): string | undefined {
  const file = join(agent.stateDirectory, 'keys.json')
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { machineId: string }).machineId : undefined
}

describeLab(
  'the agent’s pod has nothing that it could do without',
  { programs: ['wg', 'nft'], userspaceWireGuard: true },
  () => {
    let lab: Lab | undefined
    const node = (index: number): LabNode => {
      const found = lab?.nodes[index]
      if (!found) throw new Error(`the lab has no node ${index + 1}`)
      return found
    }

    beforeAll(async () => {
      lab = await Lab.up({
        name: labName(),
        nodes: ANONYMOUS + 1,
        families: '4',
        dataplane: 'userspace',
        agents: false,
      })
      for (const [i, { take }] of NEEDED.entries()) {
        node(i).agent.manifest = less(take)
        await node(i).agent.start()
      }
      await node(WHOLE).agent.start()
      node(ANONYMOUS).agent.manifest = less(mount('machine-id'))
      await node(ANONYMOUS).agent.start()
      await lab.setEncryption(true)
    })
    afterAll(() => lab?.down())

    test('with all of it there is no complaint', async () => {
      const { agent, exec } = node(WHOLE)
      await agent.ready(LIMIT_MS)
      await waitFor(async () => (await exec(['wg', 'show', 'interfaces'])).stdout !== '', LIMIT_MS, 'a device')
      for (const { says } of NEEDED) expect(agent.logs()).not.toMatch(says)
    })

    test.each(NEEDED.map((each, i) => ({ ...each, i })))('without $what', async ({ i, says }) => {
      const { agent } = node(i)
      await waitFor(() => says.test(agent.logs()), LIMIT_MS, `${String(says)} in ${agent.logFile}`)
    })

    test.skipIf(machine === '')(
      'without the machine’s id its keys are bound to no machine: a cloned disk clones them',
      async () => {
        const bound = (index: number) => waitFor(() => boundTo(node(index)), LIMIT_MS, 'keys')
        expect(await bound(WHOLE)).toBe(machine)
        expect(await bound(ANONYMOUS)).toBe('')
      },
    )
  },
)
