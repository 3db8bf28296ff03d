import { isDeepStrictEqual } from 'node:util'
import type { ApiClient } from '#src/cluster/api-client.ts'
import {
  describeFault,
  environmentLayer,
  layersOf,
  nodeConfigurationName,
  projectFelixConfiguration,
  type ResolvedSettings,
  resolveSettings,
  type SettingsLayer,
} from '#src/cluster/felix-configuration.ts'
import type { Logger } from '#src/cluster/logger.ts'
import {
  type PodveilLayer,
  projectPodveilConfiguration,
  type ResolvedPodveilSettings,
  resolvePodveilSettings,
} from '#src/cluster/podveil-configuration.ts'
import type { ObservedNode } from '#src/cluster/publisher.ts'
import { Reflector } from '#src/cluster/reflector.ts'
import type { ReflectorState } from '#src/cluster/reflector-state.ts'
import type { SelfDescription } from '#src/cluster/self-description.ts'
import type { PodveilSettings } from '#src/mesh/guard.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { FelixSettings } from '#src/mesh/settings.ts'
import type { OwnNode } from './own-node.ts'
import { PeerFeed } from './peer-feed.ts'
import { type FelixPort, RouteFeed } from './route-feed.ts'

/** Keeps what the agent needs of the cluster: all Nodes, and the settings that apply to this one. */
export class ClusterFeed {
  /** Where pod addresses come from, and the Nodes as the mesh takes them. */
  readonly routes: RouteFeed
  /** Where the Nodes are read from. */
  readonly peers: PeerFeed
  readonly #self: NodeName
  readonly #log: Logger
  readonly #changed: () => void
  readonly #environment: SettingsLayer
  readonly #felixReflector: Reflector<SettingsLayer>
  readonly #podveilReflector: Reflector<PodveilLayer>
  readonly #configurations = new Map<string, SettingsLayer>()
  readonly #podveilConfigurations = new Map<string, PodveilLayer>()
  #ownWritten: ObservedNode | undefined
  #ownRecord: NodeRecord | undefined
  #ownDescription: SelfDescription | undefined
  #ownConditions: unknown
  #ownLabels: OwnNode['labels'] = {}
  #ownTainted = false
  #resolved: ResolvedSettings
  #resolvedPodveil: ResolvedPodveilSettings = resolvePodveilSettings([])
  #told = ''

  /** @param changed called after every change, and when both sources have synced */
  constructor(
    client: ApiClient,
    self: NodeName,
    environment: Readonly<Record<string, string | undefined>>,
    log: Logger,
    changed: () => void,
  ) {
    this.#self = self
    this.#log = log
    this.#changed = changed
    this.#environment = environmentLayer(environment)
    this.#resolved = resolveSettings([this.#environment])
    this.routes = new RouteFeed(client, self, log, this.#felixPorts(), changed)
    this.peers = new PeerFeed(client, self, log, {
      own: node => this.#takeOwn(node),
      replaced: nodes => this.routes.replaceNodes(nodes),
      put: node => this.routes.putNode(node),
      deleted: name => this.routes.deleteNode(name),
      changed,
    })
    this.#felixReflector = this.#follow(
      client,
      '/apis/crd.projectcalico.org/v1/felixconfigurations',
      projectFelixConfiguration,
      this.#configurations,
    )
    this.#podveilReflector = this.#follow(
      client,
      '/apis/podveil.io/v1alpha1/podveilconfigurations',
      projectPodveilConfiguration,
      this.#podveilConfigurations,
    )
  }

  start(): void {
    this.routes.start()
    this.peers.start()
    for (const reflector of this.#reflectors) {
      reflector.start()
      // Stopping before the first list is complete is no failure.
      reflector.synced.then(this.#changed, () => {})
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#reflectors.map(reflector => reflector.stop()), this.peers.stop(), this.routes.stop()])
  }

  /** Every source has been read whole at least once: what is not there does not exist. */
  get synced(): boolean {
    return this.peers.synced && this.#reflectors.every(({ state }) => state.synced) && this.routes.established
  }

  /** All Nodes. */
  get nodes(): ReadonlyMap<NodeName, NodeRecord> {
    return this.routes.nodes
  }

  get settings(): FelixSettings {
    return this.#resolved.settings
  }

  get podveil(): PodveilSettings {
    const { settings } = this.#resolvedPodveil
    const { pools } = this.routes
    return pools.length === 0 ? settings : { ...settings, podSupernets: [...settings.podSupernets, ...pools] }
  }

  get own(): NodeRecord | undefined {
    return this.nodes.get(this.#self)
  }

  /** Our own Node's annotations and labels as the API server has them. */
  get ownWritten(): ObservedNode | undefined {
    return this.#ownWritten
  }

  /** Our own Node as it says of itself, whatever the route source. */
  get ownRecord(): NodeRecord | undefined {
    return this.#ownRecord
  }

  /** What of our own Node's status and spec others need. */
  get ownDescription(): SelfDescription | undefined {
    return this.#ownDescription
  }

  /** Our own Node's conditions as the API server has them. */
  get ownConditions(): unknown {
    return this.#ownConditions
  }

  /** Our own Node has the start-up taint. */
  get ownTainted(): boolean {
    return this.#ownTainted
  }

  /** What of the configuration was refused, a sentence each. */
  get faults(): readonly string[] {
    const { refusal } = this.peers
    return refusal === undefined ? this.#refusedValues : [...this.#refusedValues, refusal]
  }

  get #refusedValues(): readonly string[] {
    return [...this.#resolved.faults.map(describeFault), ...this.#resolvedPodveil.faults]
  }

  get reflectors(): Readonly<Record<string, ReflectorState>> {
    return {
      ...this.peers.reflectors,
      felixconfigurations: this.#felixReflector.state,
      podveilconfigurations: this.#podveilReflector.state,
      ...this.routes.reflectors,
    }
  }

  get #reflectors(): readonly Pick<Reflector<unknown>, 'start' | 'stop' | 'synced' | 'state'>[] {
    return [this.#felixReflector, this.#podveilReflector]
  }

  /** A configuration's resource, whose every change makes the settings anew; one that is not installed is empty. */
  #follow<T>(
    client: ApiClient,
    path: string,
    project: (raw: unknown) => T | undefined,
    into: Map<string, T>,
  ): Reflector<T> {
    return new Reflector({
      client,
      path,
      project,
      optional: true,
      logger: this.#log,
      handler: {
        replaced: items => {
          into.clear()
          for (const [name, layer] of items) into.set(name, layer)
          this.#resolve()
        },
        upserted: (layer, name) => {
          into.set(name, layer)
          this.#resolve()
        },
        deleted: name => {
          into.delete(name)
          this.#resolve()
        },
      },
    })
  }

  #takeOwn(node: OwnNode | undefined): void {
    this.#ownWritten = node?.written
    this.#ownRecord = node?.record
    this.#ownDescription = node?.description
    if (!node) return
    this.#ownConditions = node.conditions
    this.#ownTainted = node.tainted
    if (isDeepStrictEqual(node.labels, this.#ownLabels)) return
    this.#ownLabels = node.labels
    this.#resolve()
  }

  /** The environment is this agent's, and no other node's Felix has it. */
  #felixPorts(): FelixPort {
    // By the node's own configuration, which hardly any has: all others have the same settings.
    const settings = new Map<SettingsLayer | undefined, FelixSettings>()
    return (node, family) => {
      const own = this.#configurations.get(nodeConfigurationName(node))
      const known = settings.get(own) ?? resolveSettings(layersOf(node, this.#configurations, NO_ENVIRONMENT)).settings
      settings.set(own, known)
      return known.wireguard[family].listeningPort
    }
  }

  #resolve(): void {
    this.#resolved = resolveSettings(
      layersOf(this.#self, this.#configurations, this.#environment, this.#ownLabels),
      this.#resolved,
    )
    const own = [this.#podveilConfigurations.get('default'), this.#podveilConfigurations.get(`node.${this.#self}`)]
    this.#resolvedPodveil = resolvePodveilSettings(
      own.filter(layer => layer !== undefined),
      this.#resolvedPodveil.settings,
    )
    const source = this.#resolvedPodveil.settings.routeSource ?? this.#resolved.settings.routeSource
    this.routes.ask(source, this.#felixPorts())
    this.peers.ask(this.#resolvedPodveil.settings.peerSource)
    const faults = this.#refusedValues
    if (faults.join('\n') !== this.#told)
      for (const fault of faults) this.#log.warn({ event: 'configuration-refused' }, fault)
    this.#told = faults.join('\n')
    this.#changed()
  }
}

const NO_ENVIRONMENT = environmentLayer({})
