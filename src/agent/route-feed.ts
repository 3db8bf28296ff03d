import { projectIpPool } from '#src/cluster/ip-pool.ts'
import { projectIpamBlock } from '#src/cluster/ipam-block.ts'
import { LinePace } from '#src/cluster/line-pace.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { Reflector, type ReflectorOptions } from '#src/cluster/reflector.ts'
import type { ReflectorState } from '#src/cluster/reflector-state.ts'
import { projectWorkload, WORKLOAD_SELECTOR } from '#src/cluster/workload.ts'
import { CidrOwners, type Claimant } from '#src/mesh/cidr-owners.ts'
import { type CidrSource, type PrefixVerdicts, podCidrClaimant } from '#src/mesh/claims.ts'
import { poolAddress } from '#src/mesh/device-address.ts'
import { BLOCK, blockClaimant, type IpamBlock } from '#src/mesh/ipam-block.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { OwnTunnels } from '#src/mesh/own-tunnels.ts'
import { chooseRouteSource, type RouteSource } from '#src/mesh/route-source.ts'
import { sourcedNode } from '#src/mesh/sourced-node.ts'
import { POD, type Workload, workloadClaimant } from '#src/mesh/workload.ts'
import { few, NONE } from '#wg/few.ts'
import { type Cidr, FAMILIES, type Family, hostCidr } from '#wg/ip.ts'
import { atOnce, inSlices } from '#wg/slices.ts'
import { Table } from '#wg/table.ts'

/** Many clusters have no Calico, and thousands of agents would ask for it. */
const ABSENT_CALICO = { least: 120_000, most: 300_000 }

type Source = 'ipamblocks' | 'ippools' | 'pods'

/** Where Felix listens on a node, by FelixConfiguration. */
export type FelixPort = (node: NodeName, family: Family) => number

/** Knows what of the pods' addresses is on which node, and gives Nodes as the mesh takes them. */
export class RouteFeed implements CidrSource {
  /** Every Node, with the prefixes of the source that counts. Live. */
  readonly nodes = new Table<NodeName, NodeRecord>()
  readonly #client: ReflectorOptions<unknown>['client']
  readonly #self: NodeName
  readonly #log: Logger
  readonly #changed: () => void
  readonly #raw = new Map<NodeName, NodeRecord>()
  /** Of Nodes of which something malformed was told: whoever may write to one is not to fill every other's log. */
  readonly #paces = new Map<NodeName, LinePace>()
  readonly #owners: Readonly<Record<RouteSource, CidrOwners>> = {
    PodCIDR: new CidrOwners(),
    CalicoIPAM: new CidrOwners(),
    WorkloadIPs: new CidrOwners(),
  }
  readonly #blocks: Reflector<IpamBlock>
  readonly #pools: Reflector<Cidr>
  #workloads: Reflector<Workload> | undefined
  readonly #tunnels: OwnTunnels
  #asked: RouteSource | undefined
  #felixPort: FelixPort
  #source: RouteSource | undefined
  #nodesWithPodCidrs = 0
  #nodesAreRead = false
  #established = false
  /** Sources that have said something: only there it matters what the nodes' own addresses are. */
  readonly #heardOf = new Set<RouteSource>()
  /** What was read of Nodes and is yet to be taken in; undefined for one that is gone. */
  readonly #untaken = new Map<NodeName, NodeRecord | undefined>()
  /** Whose Node, as the mesh takes it, is yet to be made anew. */
  readonly #unmade = new Set<NodeName>()
  /** While this is so, half of the Nodes may be there. */
  #settling = false
  /** There is something else to take in since it began. */
  #settleAgain = false
  /** The source that all nodes were last made by. */
  #refreshed: RouteSource | undefined

  /** @param changed called after every change that this hears of by itself */
  constructor(
    client: ReflectorOptions<unknown>['client'],
    self: NodeName,
    log: Logger,
    felixPort: FelixPort,
    changed: () => void,
  ) {
    this.#client = client
    this.#self = self
    this.#log = log
    this.#tunnels = new OwnTunnels(self)
    this.#felixPort = felixPort
    this.#changed = changed
    this.#blocks = this.#follow('/apis/crd.projectcalico.org/v1/ipamblocks', projectIpamBlock, BLOCK, 'CalicoIPAM', {
      claimant: blockClaimant,
      seen: (id, block) => this.#tunnels.note(id, block),
    })
    this.#pools = new Reflector({
      client,
      path: '/apis/crd.projectcalico.org/v1/ippools',
      project: projectIpPool,
      optional: true,
      absentMs: ABSENT_CALICO,
      logger: log,
      handler: { replaced: changed, upserted: changed, deleted: changed },
    })
  }

  start(): void {
    for (const reflector of [this.#blocks, this.#pools]) this.#begin(reflector)
  }

  async stop(): Promise<void> {
    await Promise.all([this.#blocks.stop(), this.#pools.stop(), this.#workloads?.stop()])
  }

  /**
   * The source that the operator wants has been read whole. It stays so while another one is being read: what was known
   * before is better than nothing. To be asked only when the configuration has been read.
   */
  get established(): boolean {
    const isRead = this.#blocks.state.synced && this.#pools.state.synced
    this.#established ||= isRead && this.#source !== undefined && this.#source === this.#wanted
    return this.#established && !this.#settling
  }

  get reflectors(): Readonly<Partial<Record<Source, ReflectorState>>> {
    return {
      ipamblocks: this.#blocks.state,
      ippools: this.#pools.state,
      ...(this.#workloads && { pods: this.#workloads.state }),
    }
  }

  /** Where the prefixes come from now; undefined before any of the sources was read. */
  get source(): RouteSource | undefined {
    return this.#source
  }

  /** Addresses of all pools of Calico that pods have theirs of. */
  get pools(): readonly Cidr[] {
    return [...this.#pools.items.values()]
  }

  prefixes(node: NodeRecord): Iterable<Cidr> {
    return node.podCidrs
  }

  owners(_nodes: Iterable<NodeRecord>, family: Family): PrefixVerdicts {
    const owners = this.#owners[this.#source ?? 'PodCIDR']
    return { owner: owners.owner(family), refused: owners.refused(family) }
  }

  /**
   * @param source what the operator says; undefined where nobody does
   * @param felixPort where Felix listens on a node
   */
  ask(source: RouteSource | undefined, felixPort: FelixPort): void {
    this.#asked = source
    this.#felixPort = felixPort
    for (const name of this.#raw.keys()) this.#unmade.add(name)
    this.#settle()
  }

  putNode(node: NodeRecord): void {
    this.#untaken.set(node.name, node)
    this.#settle()
  }

  deleteNode(name: NodeName): void {
    this.#untaken.set(name, undefined)
    this.#settle()
  }

  replaceNodes(nodes: Iterable<NodeRecord>): void {
    this.#nodesAreRead = true
    const gone = new Set(this.#raw.keys())
    for (const node of nodes) {
      gone.delete(node.name)
      this.#untaken.set(node.name, node)
    }
    for (const name of gone) this.#untaken.set(name, undefined)
    this.#settle()
  }

  /** Takes in all that there is: at once, but in slices where there is no Node yet that anybody has looked at. */
  #settle(): void {
    if (this.#settling) this.#settleAgain = true
    else if (this.nodes.size > 0) atOnce(this.#settleInSteps())
    else {
      this.#settling = true
      inSlices(this.#settleInSteps()).then(this.#changed, error =>
        this.#log.error(
          { event: 'nodes-not-taken-in', err: error },
          `what was read of Nodes was not all taken in: ${error}`,
        ),
      )
    }
  }

  *#settleInSteps(): Generator<undefined, void> {
    try {
      do {
        this.#settleAgain = false
        for (const [name, node] of this.#untaken) {
          this.#untaken.delete(name)
          if (node) this.#takeNode(node)
          else this.#dropNode(name)
          this.#unmade.add(name)
          yield
        }
        yield* this.#makeNodes()
      } while (this.#settleAgain)
    } finally {
      this.#settling = false
    }
  }

  #takeNode(node: NodeRecord): void {
    this.#countPodCidrs(node.name, -1)
    this.#raw.set(node.name, node)
    this.#countPodCidrs(node.name, 1)
    this.#owners.PodCIDR.put(podCidrClaimant(node))
    const addresses = few(node.addresses.map(hostCidr))
    for (const source of this.#heardOf) this.#owners[source].reserve(node.name, addresses)
  }

  #dropNode(name: NodeName): void {
    this.#countPodCidrs(name, -1)
    this.#raw.delete(name)
    this.#owners.PodCIDR.remove(name)
    for (const source of this.#heardOf) this.#owners[source].reserve(name, NONE)
  }

  #countPodCidrs(name: NodeName, change: 1 | -1): void {
    if ((this.#raw.get(name)?.podCidrs.length ?? 0) > 0) this.#nodesWithPodCidrs += change
  }

  /** Makes anew the Nodes that were taken in, those whose prefixes have changed, and all of them where the source has. */
  *#makeNodes(): Generator<undefined, void> {
    const unmade = this.#unmade
    this.#switchSource()
    const source = this.#source
    if (source === undefined) {
      unmade.clear()
      return
    }
    const touched = unmade.size > 0
    for (const name of this.#owners[source].takeChanged()) unmade.add(name)
    if (source !== this.#refreshed) for (const name of this.#raw.keys()) unmade.add(name)
    this.#refreshed = source
    const ownIsMade = unmade.has(this.#self)
    for (const name of unmade) {
      unmade.delete(name)
      this.#makeNode(name, source)
      yield
    }
    if (touched || ownIsMade || source === 'CalicoIPAM') this.#addressOwn(source)
  }

  #makeNode(name: NodeName, source: RouteSource): void {
    const raw = this.#raw.get(name)
    if (!raw) {
      this.nodes.delete(name)
      this.#paces.delete(name)
      return
    }
    const before = this.nodes.get(name)
    const owned = this.#owners[source].of(name)
    const node = sourcedNode(raw, { source, owned, felixPort: family => this.#felixPort(name, family) })
    this.nodes.set(name, node)
    for (const fault of node.faults) if (!before?.faults.includes(fault)) this.#tellFault(name, fault)
  }

  #tellFault(name: NodeName, fault: string): void {
    const pace = this.#paces.get(name) ?? new LinePace()
    this.#paces.set(name, pace)
    const unsaid = pace.say(performance.now())
    if (unsaid === undefined) return
    const more = unsaid > 0 ? ` (and ${unsaid} faults of it before that were not logged)` : ''
    this.#log.warn({ event: 'node-malformed', peer: name }, `Node ${name}: ${fault}${more}`)
  }

  /** What our own devices are to have, where that does not follow from the Node's pod CIDRs. */
  #addressOwn(source: RouteSource): void {
    const own = this.nodes.get(this.#self)
    if (!own || source === 'PodCIDR') return
    const before = own.deviceAddresses
    const deviceAddresses = Object.fromEntries(
      FAMILIES.map(family => {
        const allocated = source === 'CalicoIPAM' ? this.#tunnels.address(family) : undefined
        return [family, allocated ?? poolAddress(family, own, this.nodes.values())]
      }),
    )
    if (FAMILIES.some(family => deviceAddresses[family] !== before?.[family]))
      this.nodes.set(this.#self, { ...own, deviceAddresses })
  }

  /** Undefined while Nodes are being read, and what they say may count: all Pods of a cluster are not read in vain. */
  get #wanted(): RouteSource | undefined {
    const asked = this.#asked
    const blocks = this.#blocks.items.values()
    const hasBlocks = blocks.some(({ affinity, elsewhere }) => affinity !== undefined || elsewhere.size > 0)
    const hasPodCidrs = this.#nodesWithPodCidrs > 0
    const isSaid = asked === 'PodCIDR' || asked === 'WorkloadIPs'
    if (!isSaid && !hasBlocks && !hasPodCidrs && !this.#nodesAreRead) return undefined
    return chooseRouteSource({ asked, hasBlocks, hasPodCidrs })
  }

  /** Nothing is taken from a source before it was read whole: until then the one before it counts. */
  #switchSource(): void {
    const wanted = this.#wanted
    if (wanted === 'WorkloadIPs') this.#workloads ??= this.#begin(this.#followWorkloads())
    else if (this.#workloads && this.#source !== 'WorkloadIPs') this.#endWorkloads(this.#workloads)
    const read = wanted === 'WorkloadIPs' ? this.#workloads : this.#blocks
    if (wanted === undefined || wanted === this.#source || !read?.state.synced) return
    if (this.#source !== undefined)
      this.#log.warn(
        { event: 'route-source-changed' },
        `pod addresses come from ${wanted} now, and no more from ${this.#source}`,
      )
    else this.#log.info({ event: 'route-source-chosen' }, `pod addresses come from ${wanted}`)
    this.#source = wanted
    if (wanted !== 'WorkloadIPs' && this.#workloads) this.#endWorkloads(this.#workloads)
  }

  #endWorkloads(workloads: Reflector<Workload>): void {
    this.#workloads = undefined
    void workloads.stop()
    this.#owners.WorkloadIPs.replace([])
  }

  #followWorkloads(): Reflector<Workload> {
    return this.#follow('/api/v1/pods', projectWorkload, POD, 'WorkloadIPs', {
      claimant: workloadClaimant,
      fieldSelector: WORKLOAD_SELECTOR,
    })
  }

  #follow<T>(
    path: string,
    project: (raw: unknown) => T | undefined,
    prefix: string,
    source: RouteSource,
    options: {
      readonly claimant: (item: T) => Claimant
      readonly seen?: (id: string, item: T | undefined) => void
      readonly fieldSelector?: string
    },
  ): Reflector<T> {
    const owners = this.#owners[source]
    const { claimant, seen } = options
    const claims = (items: Iterable<T>): Claimant[] => {
      const claimants = Array.from(items, claimant)
      if (claimants.length > 0) this.#reserveIn(source)
      return claimants
    }
    const known = new Set<string>()
    const handler: ReflectorOptions<T>['handler'] = {
      replaced: items => {
        for (const id of known) if (!items.has(id)) seen?.(id, undefined)
        known.clear()
        for (const [id, item] of items) {
          known.add(id)
          seen?.(id, item)
        }
        owners.replace(claims(items.values()))
        this.#heard()
      },
      upserted: (item, id) => {
        known.add(id)
        seen?.(id, item)
        for (const claimant of claims([item])) owners.put(claimant)
        this.#heard()
      },
      deleted: id => {
        known.delete(id)
        seen?.(id, undefined)
        owners.remove(`${prefix}${id}`)
        this.#heard()
      },
    }
    const { fieldSelector } = options
    return new Reflector({
      client: this.#client,
      path,
      project,
      optional: true,
      absentMs: ABSENT_CALICO,
      logger: this.#log,
      handler,
      ...(fieldSelector !== undefined && { fieldSelector }),
    })
  }

  #reserveIn(source: RouteSource): void {
    if (this.#heardOf.has(source)) return
    this.#heardOf.add(source)
    for (const { name, addresses } of this.#raw.values())
      this.#owners[source].reserve(name, few(addresses.map(hostCidr)))
  }

  #heard(): void {
    this.#settle()
    this.#changed()
  }

  #begin<R extends Pick<Reflector<unknown>, 'start' | 'synced'>>(reflector: R): R {
    reflector.start()
    // Stopping before the first list is complete is no failure.
    reflector.synced.then(
      () => this.#heard(),
      () => {},
    )
    return reflector
  }
}
