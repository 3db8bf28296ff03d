import { existsSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { MESH_NODES } from '#src/cluster/mesh-node.ts'
import type { JsonObject } from '#src/lab/api.ts'
import { AGENT_MANIFESTS } from '#src/lab/kube-apiserver/agents.ts'
import { applyObjects, type KubernetesObject, readManifests } from '#src/lab/kube-apiserver/apply.ts'
import { Lab } from '#src/lab/lab.ts'
import { patchPodveil } from '../lab/guard/support/cluster.ts'
import { waitFor } from '../lab/harness/wait-for.ts'
import { labName } from '../lab/harness/with-lab.ts'
import { noRealApi } from './harness/real-api.ts'

const LIMIT_MS = 30_000
const PUBLISH_LIMIT_MS = 5_000

interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

const roles = AGENT_MANIFESTS.flatMap(readManifests).filter(({ kind }) => kind === 'ClusterRole' || kind === 'Role')
const grants = roles.flatMap(role =>
  (role.rules as unknown as readonly Rule[]).flatMap(({ resources, verbs }) =>
    resources.flatMap(resource => verbs.map(verb => [verb, resource, role] as const)),
  ),
)

describe.skipIf(noRealApi)(`the agent’s roles${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  let lab: Lab | undefined

  beforeAll(async () => {
    // Without the streamed initial list an agent lists, as on clusters that do not have it.
    vi.stubEnv('PODVEIL_LAB_APISERVER_FLAGS', '--feature-gates=WatchList=false')
    lab = await Lab.up({ name: labName(), nodes: 1, api: 'real', agents: false })
  })
  afterAll(async () => {
    vi.unstubAllEnvs()
    await lab?.down()
  })

  test('suffice: nothing is refused to an agent that starts, turns on and off', async () => {
    if (!lab) throw new Error('no lab')
    await using agent = await runningAgent(lab)
    await stimulate(lab)
    expect(agent.refusals([])).toEqual([])
  })

  test.each(grants)('hold nothing superfluous: without %s of %s something is refused', async (verb, resource, role) => {
    if (!lab) throw new Error('no lab')
    const there = lab
    await applyObjects(lab.client, [without(role, verb, resource)])
    try {
      await using agent = await runningAgent(lab)
      const [name = '', subresource = name] = resource.split('/')
      const isRefused = () => agent.refusals([verb, subresource]).length > 0
      await stimulate(lab)
      // What is on and off again before the agent has told of it was never told: once more then.
      const again = async () => isRefused() || (await onAndOff(there).then(isRefused))
      await waitFor(again, LIMIT_MS, `a refusal of ${verb}`)
    } finally {
      await applyObjects(lab.client, [role])
    }
  })
})

interface RunningAgent extends AsyncDisposable {
  /** Lines of this run that tell that the server forbade something, which all of the words describe. */
  refusals(words: readonly string[]): string[]
}

async function runningAgent(lab: Lab): Promise<RunningAgent> {
  const agent = lab.nodes[0]?.agent
  if (!agent) throw new Error('the lab has no node')
  const before = existsSync(agent.logFile) ? agent.logs().length : 0
  await agent.start()
  return {
    refusals: words =>
      agent
        .logs()
        .slice(before)
        .split('\n')
        .filter(line => /forbidden/i.test(line) && words.every(word => line.includes(word))),
    [Symbol.asyncDispose]: () => agent.kill('SIGTERM'),
  }
}

/** Makes an agent do all that it does with the API; the second round is what repeats. */
async function stimulate(lab: Lab): Promise<void> {
  await lab.patchFelix({ routeSource: 'WorkloadIPs' })
  await patchPodveil(lab, { peerSource: 'MeshNodes' })
  await lab.client.request('DELETE', `${MESH_NODES}/node-1`)
  await onAndOff(lab)
  await onAndOff(lab)
}

async function onAndOff(lab: Lab): Promise<void> {
  for (const enabled of [true, false]) {
    await lab.setEncryption(enabled)
    // An agent that lacks a right may never do it.
    await waitFor(async () => (await publishes(lab)) === enabled, PUBLISH_LIMIT_MS, 'the agent to publish').catch(
      () => undefined,
    )
  }
}

async function publishes(lab: Lab): Promise<boolean> {
  const { metadata } = (await lab.client.get('/api/v1/nodes/node-1')) as { metadata: { annotations: JsonObject } }
  return 'projectcalico.org/WireguardPublicKey' in metadata.annotations
}

/** A rule without verbs is none. */
const without = (role: KubernetesObject, verb: string, resource: string): KubernetesObject => ({
  ...role,
  rules: (role.rules as unknown as readonly Rule[])
    .map(rule =>
      rule.resources.includes(resource) ? { ...rule, verbs: rule.verbs.filter(each => each !== verb) } : rule,
    )
    .filter(rule => rule.verbs.length > 0),
})
