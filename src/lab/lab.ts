import { appendFileSync } from 'node:fs'
import { adminAccess, serviceEnvironment, startRelay, writeKubeconfigs, writeTokens } from './access.ts'
import { LabAgent } from './agent.ts'
import { type JsonObject, LabApi } from './api.ts'
import { UnderlayCapture } from './capture.ts'
import type { ControlPlane } from './control-plane.ts'
import { EmbeddedControlPlane } from './embedded-control-plane.ts'
import { LabError } from './errors.ts'
import { listNamespaces, namespacePids, removeNamespaces, runIn } from './namespaces.ts'
import { keepMounts, makeNodeDirectories, onNode } from './node-shell.ts'
import { createNode, createObjects, deleteNode, FELIX_CONFIGURATIONS, felixConfiguration } from './objects.ts'
import { isNamespaceOf, type LabPlan, type NodePlan, planLab } from './plan.ts'
import { killAll, stopProcess } from './processes.ts'
import { checkReachability, type ReachabilityOptions } from './reachability.ts'
import { RealControlPlane } from './real-apiserver.ts'
import { missingRequirement, requireBridgeTables, requireWireGuard } from './requirements.ts'
import { type RunOptions, type RunResult, run } from './run.ts'
import { alreadyThere, LabFiles, type LabSpec } from './state.ts'
import { readSteering, type Steering } from './steering.ts'
import { buildTopology } from './topology.ts'
import { Traffic } from './traffic.ts'
import { armUnderlayWatch, readUnderlayWatch, type UnderlaySnapshot } from './underlay-watch.ts'

export type LabOptions = Partial<LabSpec>

const DEFAULTS: LabSpec = {
  name: 'default',
  nodes: 3,
  families: 'dual',
  dataplane: 'auto',
  rpFilter: 0,
  api: 'embedded',
  bare: false,
  agents: true,
  agentEnv: {},
  manifest: 'base',
  agentCommand: undefined,
}

/** A pod of the lab, which is a network namespace with a probe in it. */
export interface LabPod {
  readonly name: string
  readonly namespace: string
  readonly addresses: readonly string[]
  /** Runs a command in the pod to its end, whatever its status. */
  exec(argv: readonly string[], options?: RunOptions): Promise<RunResult>
}

export interface LabNode {
  readonly plan: NodePlan
  readonly name: string
  readonly namespace: string
  readonly addresses: readonly string[]
  readonly podCidrs: readonly string[]
  readonly pod: LabPod
  readonly agent: LabAgent
  /** Runs a command on the node, with its /run, to its end, whatever its status: `wg show` works. */
  exec(argv: readonly string[], options?: RunOptions): Promise<RunResult>
  /** Takes Node and Pod out of the API, as a cloud controller does; the machine and its agent stay. */
  deleteObjects(): Promise<void>
  createObjects(): Promise<void>
}

/**
 * A cluster in network namespaces of this machine. What runs in it outlives this object unless it is disposed of:
 * `await using lab = await Lab.up(…)` leaves nothing behind, whatever happens.
 */
export class Lab implements AsyncDisposable {
  readonly spec: LabSpec
  readonly plan: LabPlan
  readonly nodes: readonly LabNode[]
  readonly traffic: Traffic
  /** The API server as a process: stop() and start() it to see who minds. */
  readonly api: ControlPlane
  readonly #files: LabFiles
  #client: LabApi | undefined

  private constructor(spec: LabSpec) {
    this.spec = spec
    this.plan = planLab(spec.name, spec.nodes, spec.families)
    this.#files = new LabFiles(spec.name)
    this.traffic = new Traffic(this.plan, this.#files)
    this.api = controlPlane(spec, this.plan, this.#files)
    this.nodes = this.plan.nodes.map(node => this.#node(node))
  }

  /**
   * Makes a lab; when something goes wrong, or the signal is aborted on the way, removes what there is of it.
   * @throws LabError, the signal's reason
   */
  static async up(options: LabOptions = {}, signal?: AbortSignal): Promise<Lab> {
    const spec = { ...DEFAULTS, ...options }
    const missing = missingRequirement(['openssl', 'nsenter', ...(spec.agents ? ['wg', 'setpriv'] : [])])
    if (missing) throw missing
    const lab = new Lab(spec)
    if ((await listNamespaces()).some(name => isNamespaceOf(spec.name, name))) throw alreadyThere(spec.name)
    lab.#files.create(spec)
    try {
      await lab.#build(signal)
      return lab
    } catch (error) {
      await lab.down()
      throw error
    }
  }

  /** A lab that `up` has left running. @throws LabError when there is none of this name */
  static open(name = DEFAULTS.name): Lab {
    return new Lab(new LabFiles(name).readSpec())
  }

  /** Removes whatever there is of a lab, complete or not, also when its files are damaged or gone. */
  static async remove(name: string): Promise<void> {
    const missing = missingRequirement()
    if (missing) throw missing
    const files = new LabFiles(name)
    await stopProcess(files.process('relay'))
    const namespaces = (await listNamespaces()).filter(namespace => isNamespaceOf(name, namespace))
    // What runs in the lab's own namespaces is the lab's: agents, probes, the API server, wireguard-go, somebody's shell.
    await killAll((await Promise.all(namespaces.map(namespacePids))).flat())
    await removeNamespaces(namespaces)
    files.remove()
  }

  get name(): string {
    return this.spec.name
  }

  /** Path of the administrator's kubeconfig, for use on this machine. */
  get kubeconfig(): string {
    return this.#files.kubeconfig
  }

  /** The API as its administrator sees it. */
  get client(): LabApi {
    this.#client ??= new LabApi(adminAccess(this.#files))
    return this.#client
  }

  /** What crosses the bridge, counted in the kernel since `up`. */
  readonly underlay = {
    snapshot: (): Promise<UnderlaySnapshot> => readUnderlayWatch(this.plan.switchNamespace),
    /** @param filter of pcap-filter(7); with `keep`, the capture stays in the lab's directory until `down` */
    capture: (filter?: string, keep = false): Promise<UnderlayCapture> =>
      UnderlayCapture.start(this.plan.switchNamespace, filter, keep ? this.#files.capture : undefined),
  }

  /** Patches a FelixConfiguration as `kubectl patch --type=merge` does; one that is missing is made. */
  async patchFelix(spec: JsonObject, name = 'default'): Promise<void> {
    const path = `${FELIX_CONFIGURATIONS}/${name}`
    const { status } = await this.client.request('GET', path)
    if (status === 404) await this.client.create(FELIX_CONFIGURATIONS, felixConfiguration(name, spec))
    else await this.client.mergePatch(path, { spec })
  }

  /** Turns encryption on or off in every family that the lab carries. */
  async setEncryption(enabled: boolean): Promise<void> {
    await this.patchFelix(encryptionSpec(this.plan, enabled))
  }

  /** The kernels' own word on which pairs of pods are encrypted. */
  steering(): Promise<Steering[]> {
    return readSteering(this.plan)
  }

  reachability(options?: ReachabilityOptions): ReturnType<typeof checkReachability> {
    return checkReachability(this.plan, options)
  }

  /** Arguments that run a command on a node or in a pod, by name. @throws LabError when there is none of this name */
  enter(name: string, argv: readonly string[]): string[] {
    const node = this.plan.nodes.find(one => one.name === name)
    if (node) return onNode(this.#files, node, argv)
    const host = this.plan.nodes.find(one => one.podName === name)
    if (host) return ['ip', 'netns', 'exec', host.podNamespace, ...argv]
    const names = this.plan.nodes.flatMap(one => [one.name, one.podName])
    throw new LabError('ERR_LAB_OPTION', `lab ${this.name} has no ${name}: it has ${names.join(', ')}`)
  }

  /** Adds a line to the log of every agent, so that what follows can be told from what was before. */
  mark(text: string): void {
    for (const node of this.nodes) appendFileSync(node.agent.logFile, `--- ${text}\n`)
  }

  /** Ends all of it. Safe to call twice. */
  async down(): Promise<void> {
    this.traffic.close()
    await Lab.remove(this.name)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down()
  }

  async #build(signal: AbortSignal | undefined): Promise<void> {
    const { spec, plan } = this
    await buildTopology(plan, spec.rpFilter)
    if (spec.agents) await requireWireGuard(plan.switchNamespace, spec.dataplane)
    await requireBridgeTables(plan.switchNamespace)
    await armUnderlayWatch(plan.switchNamespace)
    for (const node of plan.nodes) makeNodeDirectories(this.#files, node)
    await Promise.all(plan.nodes.map(node => keepMounts(this.#files, node)))
    writeTokens(plan, this.#files)
    signal?.throwIfAborted()
    await this.api.start()
    writeKubeconfigs(plan, this.#files, await startRelay(this.#files))
    await createObjects(this.client, plan, spec.bare)
    signal?.throwIfAborted()
    if (spec.agents) await Promise.all(this.nodes.map(node => node.agent.start()))
    signal?.throwIfAborted()
  }

  #node(plan: NodePlan): LabNode {
    const pod: LabPod = {
      name: plan.podName,
      namespace: plan.podNamespace,
      addresses: plan.podAddresses,
      exec: (argv, options) => runIn(plan.podNamespace, argv, options),
    }
    return {
      plan,
      name: plan.name,
      namespace: plan.namespace,
      addresses: plan.addresses,
      podCidrs: plan.podCidrs,
      pod,
      agent: new LabAgent(this.spec, plan, this.#files, serviceEnvironment(this.plan)),
      exec: (argv, options) => run(onNode(this.#files, plan, argv), options),
      deleteObjects: () => deleteNode(this.client, plan),
      createObjects: () => createNode(this.client, plan),
    }
  }
}

/** The part of a FelixConfiguration's spec that switches encryption in the lab's families. */
export const encryptionSpec = (plan: LabPlan, enabled: boolean): JsonObject => ({
  ...(plan.families.includes(4) && { wireguardEnabled: enabled }),
  ...(plan.families.includes(6) && { wireguardEnabledV6: enabled }),
})

function controlPlane(spec: LabSpec, plan: LabPlan, files: LabFiles): ControlPlane {
  return spec.api === 'real' ? new RealControlPlane(plan, files, spec.bare) : new EmbeddedControlPlane(plan, files)
}
