import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { JsonObject } from '#src/lab/apiserver/json.ts'
import { issueAgentToken } from '#src/lab/kube-apiserver/agents.ts'
import type { Lab, LabNode } from '#src/lab/lab.ts'
import { LabFiles, writeWhole } from '#src/lab/state.ts'

interface DaemonSet {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly generation: number }
  readonly spec: {
    readonly template: { readonly spec: { readonly nodeSelector?: Readonly<Record<string, string>> } }
  }
}

const NAMESPACE = 'podveil-system'
const DAEMONSETS = `/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets`
const AGENT = 'podveil-agent'
const PERIOD_MS = 500

/**
 * What a controller manager, a scheduler and kubelets would do in a lab with a real API server: they run the DaemonSet of the
 * agents, one node after the other when it changes, and say how it fares; and they empty a namespace that is deleted.
 */
export class Kubelets implements AsyncDisposable {
  readonly #lab: Lab
  readonly #stopping = new AbortController()
  readonly #running = new Map<string, string>()
  readonly #loop: Promise<void>
  #fault: unknown

  constructor(lab: Lab) {
    this.#lab = lab
    this.#loop = this.#work()
  }

  /** What went wrong last, for a message; undefined while all is well. */
  get fault(): unknown {
    return this.#fault
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort()
    await this.#loop
  }

  async #work(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        await this.#pass()
        this.#fault = undefined
      } catch (error) {
        this.#fault = error
      }
      await delay(PERIOD_MS, undefined, { signal }).catch(() => undefined)
    }
  }

  async #pass(): Promise<void> {
    const { status, body } = await this.#lab.client.request('GET', `${DAEMONSETS}/${AGENT}`)
    const daemonSet = status === 200 ? (body as unknown as DaemonSet) : undefined
    if (daemonSet) await this.#tell(daemonSet)
    for (const node of this.#lab.nodes) await this.#keep(node, daemonSet)
    if (daemonSet) await this.#tell(daemonSet)
    await this.#emptyNamespace()
  }

  /** One node: the Pod that must be there, and no other. */
  async #keep(node: LabNode, daemonSet: DaemonSet | undefined): Promise<void> {
    const wanted =
      daemonSet && (await this.#isFor(node, daemonSet)) ? JSON.stringify(daemonSet.spec.template) : undefined
    if (wanted === this.#running.get(node.name) && (wanted === undefined || node.agent.pid !== undefined)) return
    await node.agent.kill('SIGTERM')
    this.#running.delete(node.name)
    if (!daemonSet || wanted === undefined) return
    const token = await issueAgentToken(this.#lab.client, node.name)
    writeWhole(new LabFiles(this.#lab.name).node(node.name, 'run/secrets/kubernetes.io/serviceaccount/token'), token)
    node.agent.manifest = [{ ...daemonSet, kind: 'DaemonSet' } as unknown as JsonObject]
    await node.agent.start()
    this.#running.set(node.name, wanted)
    const [podIP] = node.addresses
    const status = { phase: 'Running', podIP, podIPs: [{ ip: podIP }], conditions: [{ type: 'Ready', status: 'True' }] }
    await this.#lab.client.mergePatch(`/api/v1/namespaces/${NAMESPACE}/pods/${AGENT}-${node.name}/status`, { status })
    // The next node's turn comes when this one is ready, or has had its time.
    for (let tries = 0; tries < 60 && !(await isReady(node)); tries++) await delay(PERIOD_MS)
  }

  async #isFor(node: LabNode, { spec }: DaemonSet): Promise<boolean> {
    const { metadata } = await this.#lab.client.get(`/api/v1/nodes/${node.name}`)
    const { labels = {} } = metadata as { labels?: Readonly<Record<string, string>> }
    return Object.entries(spec.template.spec.nodeSelector ?? {}).every(([name, value]) => labels[name] === value)
  }

  async #tell({ metadata, spec }: DaemonSet): Promise<void> {
    const wanted = JSON.stringify(spec.template)
    const eligible = await Promise.all(
      this.#lab.nodes.map(async node => ((await this.#isFor(node, { metadata, spec })) ? [node] : [])),
    )
    const nodes = eligible.flat()
    const updated = nodes.filter(node => this.#running.get(node.name) === wanted)
    const ready = (await Promise.all(updated.map(isReady))).filter(Boolean).length
    const status = {
      observedGeneration: metadata.generation,
      desiredNumberScheduled: nodes.length,
      currentNumberScheduled: nodes.length,
      updatedNumberScheduled: updated.length,
      numberMisscheduled: 0,
      numberReady: ready,
      numberAvailable: ready,
    }
    await this.#lab.client.mergePatch(`${DAEMONSETS}/${metadata.name}/status`, { status })
  }

  async #emptyNamespace(): Promise<void> {
    const path = `/api/v1/namespaces/${NAMESPACE}`
    const { status, body } = await this.#lab.client.request('GET', path)
    const { deletionTimestamp } = (body.metadata ?? {}) as { deletionTimestamp?: string }
    if (status !== 200 || deletionTimestamp === undefined) return
    const query = '?gracePeriodSeconds=0'
    for (const kind of ['pods', 'serviceaccounts', 'configmaps', 'events'])
      await this.#lab.client.delete(`${path}/${kind}${query}`)
    await this.#lab.client.delete(`${DAEMONSETS}${query}`)
    await this.#lab.client.delete(`/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases${query}`)
    await this.#lab.client.must('PUT', `${path}/finalize`, { ...body, spec: { finalizers: [] } })
  }
}

/** By the readiness probe: of the agent /readyz, of what cleans up in its place the program that it ends as. */
async function isReady({ agent }: LabNode): Promise<boolean> {
  const { pid } = agent
  if (pid === undefined) return false
  try {
    if (readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'sleep') return true
    return (await agent.http('/readyz')).status === 200
  } catch {
    return false
  }
}
