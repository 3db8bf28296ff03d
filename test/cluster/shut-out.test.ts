import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AGENT_NAMESPACE, issueAgentTokens } from '#src/lab/kube-apiserver/agents.ts'
import { etcdSocketOf } from '#src/lab/kube-apiserver/server.ts'
import { Lab } from '#src/lab/lab.ts'
import { FELIX_CONFIGURATIONS } from '#src/lab/objects.ts'
import { LabFiles, writeWhole } from '#src/lab/state.ts'
import { waitFor } from '../lab/harness/wait-for.ts'
import { labName, tellingOfAgents } from '../lab/harness/with-lab.ts'
import { AgentLog } from '../lab/mesh/support/agent-log.ts'
import { kernelState, settledState } from '../lab/mesh/support/kernel-state.ts'
import { expectNoLoss, measureOnce } from '../lab/mesh/support/loss.ts'
import { allReady, turnOn } from '../lab/mesh/support/with-mesh.ts'
import { BY_PROXY, startProxy } from './harness/agent-proxy.ts'
import { forgetHistory } from './harness/etcd.ts'
import { noRealApi } from './harness/real-api.ts'
import type { SlowRelay } from './harness/slow-relay.ts'

/** Milliseconds without a byte after which an agent takes a watch for dead. */
const SILENCE_MS = 90_000
/** Until what changed is in the kernels, once agents can hear of it: a pause between two tries, or two of them. */
const CATCH_UP_MS = 60_000
/** What a busy machine takes to say so. */
const SLACK_MS = 10_000
/** Bytes a second, and so many of an object that one looks at the mesh before they have come through. */
const SLOW = 8_000
const BIG = 60_000

describe.skipIf(noRealApi)(`agents cut off from kube-apiserver${noRealApi ? ` (${noRealApi})` : ''}`, () => {
  let lab: Lab
  let proxy: SlowRelay
  let mesh: Mesh

  beforeAll(async () => {
    lab = await Lab.up({ name: labName(), nodes: 2, api: 'real', agents: false, agentEnv: BY_PROXY })
    proxy = await startProxy(lab)
    await tellingOfAgents(lab, async () => {
      await Promise.all(lab.nodes.map(({ agent }) => agent.start()))
      await allReady(lab)
      await turnOn(lab)
    })
  })
  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]()
    await lab?.down()
  })

  /** Under traffic between all pods, of which nothing is lost. @param fault is given what the agents say from here on */
  const unharmed = (fault: (logs: readonly AgentLog[]) => Promise<void>): Promise<void> =>
    tellingOfAgents(lab, async () => {
      proxy.pace = Number.POSITIVE_INFINITY
      mesh = await Mesh.of(lab)
      const logs = lab.nodes.map(node => new AgentLog(node))
      expectNoLoss(await measureOnce(lab, () => fault(logs)))
    })

  test('stay as they were when their tokens have ended, and catch up when others are on disk, with history compacted meanwhile (410)', () =>
    unharmed(async logs => {
      const names = lab.nodes.map(({ name }) => name)
      const files = new LabFiles(lab.name)
      // A token is good for as long as its Pod is there; what is open stays open, so the server is started anew.
      const pods = `/api/v1/namespaces/${AGENT_NAMESPACE}/pods`
      for (const name of names) await lab.client.must('DELETE', `${pods}/podveil-agent-${name}?gracePeriodSeconds=0`)
      await forgetHistory(etcdSocketOf(files.apiserver))
      await lab.api.stop('SIGKILL')
      await lab.api.start()
      for (const log of logs) await log.says(/trying again.*(401|unauthori[sz]ed)/i, CATCH_UP_MS)
      await mesh.change()
      await mesh.isAsBefore()
      for (const [name, token] of Object.entries(await issueAgentTokens(lab.client, names)))
        writeWhole(files.node(name, 'run', 'secrets/kubernetes.io/serviceaccount/token'), token)
      for (const log of logs) await log.says(/trying again.*410/, CATCH_UP_MS)
      await mesh.catchesUp(CATCH_UP_MS)
    }))

  test(
    'stay as they were when a proxy hangs without an end of its connections, notice the silence in time, and catch up',
    { timeout: SILENCE_MS + 2 * CATCH_UP_MS },
    () =>
      unharmed(async logs => {
        proxy.hang()
        await mesh.change()
        const noticed = () => logs.some(log => log.matching(/felixconfigurations.*silent for 90 s/).length > 0)
        await mesh.isAsBeforeUntil(noticed, SILENCE_MS + SLACK_MS)
        await mesh.catchesUp(CATCH_UP_MS)
      }),
  )

  test('stay as they were while a watch is slow, without a complaint, and have what comes through', () =>
    unharmed(async logs => {
      proxy.pace = SLOW
      await mesh.change({ 'example.com/note': 'x'.repeat(BIG) })
      await mesh.isAsBefore()
      await mesh.catchesUp(CATCH_UP_MS)
      expect(logs.flatMap(({ lines }) => lines.filter(({ level }) => level > 30))).toEqual([])
    }))
})

/** What is in the kernels of a lab, and a change that shows there and moves nothing: of the keepalive. */
class Mesh {
  static #seconds = 20
  readonly #lab: Lab
  #state: Look

  private constructor(lab: Lab, state: Look) {
    this.#lab = lab
    this.#state = state
  }

  static async of(lab: Lab): Promise<Mesh> {
    await Promise.all(lab.nodes.map(settledState))
    return new Mesh(lab, await look(lab))
  }

  async change(annotations: Readonly<Record<string, string>> = {}): Promise<void> {
    const spec = { wireguardKeepAlive: `${++Mesh.#seconds}s` }
    await this.#lab.client.mergePatch(`${FELIX_CONFIGURATIONS}/default`, { metadata: { annotations }, spec })
  }

  async isAsBefore(): Promise<void> {
    expect(await look(this.#lab)).toEqual(this.#state)
  }

  /** At each look that is over before the condition holds, and there is one. */
  async isAsBeforeUntil(noticed: () => boolean, limitMs: number): Promise<void> {
    const seen: unknown[] = []
    const looked = async () => {
      const next = await look(this.#lab)
      if (noticed()) return true
      seen.push(next)
      return false
    }
    await waitFor(looked, limitMs, 'the agents to notice')
    expect(seen).not.toEqual([])
    for (const one of seen) expect(one).toEqual(this.#state)
  }

  /** The change is in every kernel, and nothing else is another. */
  async catchesUp(limitMs: number): Promise<void> {
    this.#state = { ...this.#state, keepalives: [String(Mesh.#seconds)] }
    const there = async () => expect(await look(this.#lab)).toEqual(this.#state)
    await waitFor(() => there().then(() => true), limitMs, 'the change to be in the kernels')
  }
}

interface Look {
  /** Of all peers of all nodes. */
  readonly keepalives: readonly string[]
  /** All else of the kernels' state that is an agent's. */
  readonly rest: unknown
}

async function look(lab: Lab): Promise<Look> {
  const keepalives = new Set<string>()
  const rest = (await Promise.all(lab.nodes.map(kernelState))).map(({ wireguard = '', ...state }) => {
    const peers = wireguard.replaceAll(/ (off|\d+)$/gm, (_, keepalive: string) => {
      keepalives.add(keepalive)
      return ''
    })
    return { ...state, peers }
  })
  return { keepalives: [...keepalives], rest }
}
