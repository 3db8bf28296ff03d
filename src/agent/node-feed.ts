import { isDeepStrictEqual } from 'node:util'
import { SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import type { ApiClient } from '#src/cluster/api-client.ts'
import { member, objectOf, textOf } from '#src/cluster/hostile.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { isMetadataAlone, projectNode, projectNodeMetadata } from '#src/cluster/node-record.ts'
import { Reflector, type ReflectorOptions } from '#src/cluster/reflector.ts'
import type { ReflectorState } from '#src/cluster/reflector-state.ts'
import { isOlder } from '#src/cluster/resource-version.ts'
import { describesItself } from '#src/cluster/self-description.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { NodeLook, type NodeLookOptions } from './node-look.ts'

export const NODES = '/api/v1/nodes'

/**
 * Milliseconds that nothing more is read after kubelets' heartbeats: of thousands of nodes there are so many that they are most
 * of what an agent does. Of a hundred there is one in three seconds.
 */
const restOf = (nodes: number): number => Math.min(500, nodes / 10)

/** More lines of one kind would drown what else the log has to say. */
const MOST_TOLD = 20

export interface NodeHandler {
  replaced(nodes: Iterable<NodeRecord>): void
  put(node: NodeRecord): void
  deleted(name: NodeName): void
  /** After each of the above. */
  changed(): void
}

interface ListedNode {
  readonly record: NodeRecord
  readonly describesItself: boolean
}

/** What stood in a Node's status and spec when it was last seen whole. */
interface Facts extends Pick<NodeRecord, 'uid' | 'addresses' | 'podCidrs' | 'faults'> {
  readonly resourceVersion: string
}

/**
 * All other Nodes. They are read whole once; from when at least half of them describe themselves in their metadata on, only that
 * is watched, and whole those that do not. Addresses and pod CIDRs are those of the Node as it was last seen whole,
 * whatever is said of them in metadata: where that says other ones, the Node is read itself.
 */
export class NodeFeed {
  readonly #self: NodeName
  readonly #log: Logger
  readonly #handler: NodeHandler
  readonly #options: Pick<ReflectorOptions<unknown>, 'client' | 'path' | 'logger' | 'rest'>
  readonly #all: Reflector<ListedNode>
  /** Those that do not describe themselves, once all are watched by their metadata. */
  #undescribed: Reflector<NodeRecord> | undefined
  readonly #look: NodeLook
  /** As the mesh may take them. */
  readonly #nodes = new Map<NodeName, NodeRecord>()
  /** Until all are watched by their metadata. */
  readonly #described = new Set<NodeName>()
  /** From then on. */
  readonly #facts = new Map<NodeName, Facts>()
  /** Those whose metadata says something else than they do, and how often that was seen. */
  readonly #contradicted = new Map<NodeName, number>()
  #stopped = false

  constructor(
    client: Pick<ApiClient, 'list' | 'stream' | 'get'>,
    self: NodeName,
    log: Logger,
    handler: NodeHandler,
    timing: Pick<NodeLookOptions, 'clock' | 'random'> = {},
  ) {
    this.#self = self
    this.#log = log
    this.#handler = handler
    this.#options = { ...timing, client, path: NODES, logger: log, rest: restOf }
    this.#look = new NodeLook({ ...timing, client, seen: (name, raw) => this.#lookedAt(name, raw) })
    this.#all = new Reflector({
      ...this.#options,
      project: raw => this.#project(raw),
      metadataOnly: () => this.#undescribed !== undefined,
      handler: {
        replaced: items => this.#replace(items),
        upserted: item => {
          this.#take(item)
          this.#preferMetadata()
        },
        deleted: name => {
          this.#delete(name as NodeName)
          this.#preferMetadata()
        },
      },
    })
  }

  start(): void {
    this.#all.start()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all([this.#all.stop(), this.#undescribed?.stop(), this.#look.stop()])
  }

  /** They have been read whole at least once. */
  get synced(): boolean {
    return this.#all.state.synced
  }

  /** Of none of them only metadata was seen. */
  get complete(): boolean {
    const { items } = this.#all
    return this.synced && this.#nodes.size === items.size - (items.has(this.#self) ? 1 : 0)
  }

  /** Live. */
  get nodes(): ReadonlyMap<NodeName, NodeRecord> {
    return this.#nodes
  }

  get reflectors(): Readonly<Record<string, ReflectorState>> {
    return { nodes: this.#all.state, ...(this.#undescribed && { undescribednodes: this.#undescribed.state }) }
  }

  #project(raw: unknown): ListedNode | undefined {
    const isPart = isMetadataAlone(raw)
    const record = isPart ? projectNodeMetadata(raw) : projectNode(raw)
    if (!record) return undefined
    if (this.#undescribed && !isPart) this.#learn(record, versionOf(raw))
    return { record, describesItself: describesItself(raw) }
  }

  #replace(items: ReadonlyMap<string, ListedNode>): void {
    // One that the other watch has seen since is yet to come.
    const isGone = (name: NodeName) => !items.has(name) && !this.#undescribed?.items.has(name)
    for (const name of [...this.#nodes.keys(), ...this.#facts.keys()]) {
      if (isGone(name)) this.#forget(name)
      else if (!items.has(name)) this.#nodes.delete(name)
    }
    for (const item of items.values()) {
      this.#set(item.record.name, this.#believed(item))
      this.#check(item)
    }
    this.#handler.replaced(this.#nodes.values())
    this.#handler.changed()
    this.#preferMetadata()
  }

  #take(item: ListedNode): void {
    this.#tell(item.record.name, this.#believed(item))
    this.#check(item)
  }

  #delete(name: NodeName): void {
    const uid = this.#nodes.get(name)?.uid
    const facts = this.#facts.get(name)
    this.#tell(name, undefined)
    this.#forget(name)
    // The other watch is ahead: that is the Node which takes its place.
    if (facts && facts.uid !== uid) this.#facts.set(name, facts)
  }

  #tell(name: NodeName, node: NodeRecord | undefined): void {
    const before = this.#nodes.get(name)
    this.#set(name, node)
    if (node === before || isDeepStrictEqual(node, before)) return
    if (node) this.#handler.put(node)
    else this.#handler.deleted(name)
    this.#handler.changed()
  }

  #set(name: NodeName, node: NodeRecord | undefined): void {
    if (node) this.#nodes.set(name, node)
    else this.#nodes.delete(name)
  }

  #forget(name: NodeName): void {
    this.#look.forget(name)
    for (const all of [this.#nodes, this.#described, this.#facts, this.#contradicted]) all.delete(name)
  }

  /** What the mesh may take of another Node; undefined while nothing but its metadata was seen. */
  #believed(item: ListedNode): NodeRecord | undefined {
    const { record } = item
    if (record.name === this.#self) return undefined
    if (!this.#undescribed) return record
    const facts = this.#factsOf(record)
    return facts && withFacts(item, facts)
  }

  #factsOf({ name, uid }: NodeRecord): Facts | undefined {
    const facts = this.#facts.get(name)
    return facts?.uid === uid ? facts : undefined
  }

  /** Counts who describes itself, and later has one looked at that describes another than it is. */
  #check({ record, describesItself }: ListedNode): void {
    const { name } = record
    if (!this.#undescribed) {
      if (describesItself) this.#described.add(name)
      else this.#described.delete(name)
    } else if (name !== this.#self) {
      const facts = this.#factsOf(record)
      if (!describesItself || (facts && saysTheSame(facts, record))) this.#agrees(name)
      else this.#look.ask(name)
    }
  }

  /** What is older counts no more, also of a Node that had the name before: either watch may be far behind. */
  #learn(record: NodeRecord, resourceVersion: string): boolean {
    if (isOlder(resourceVersion, this.#facts.get(record.name)?.resourceVersion)) return false
    this.#facts.set(record.name, factsOf(record, resourceVersion))
    return true
  }

  /** A Node was seen whole, by another way than the watch of all. */
  #saw(record: NodeRecord, resourceVersion: string): void {
    const { name } = record
    if (name === this.#self || !this.#learn(record, resourceVersion)) return
    const item = this.#all.items.get(name)
    if (item) this.#tell(name, this.#believed(item))
  }

  #lookedAt(name: NodeName, raw: unknown): void {
    const item = this.#all.items.get(name)
    const node = raw === undefined ? undefined : projectNode(raw)
    // What the watch has not told yet it will: that the Node is gone, or that it is another one.
    if (!item || node?.uid !== item.record.uid) return
    this.#saw(node, versionOf(raw))
    if (item.describesItself && !saysTheSame(node, item.record)) this.#contradicts(name)
    else this.#agrees(name)
  }

  #agrees(name: NodeName): void {
    this.#look.forget(name)
    this.#contradicted.delete(name)
  }

  /** Once may be in passing: a kubelet and an agent do not write at the same moment. */
  #contradicts(name: NodeName): void {
    const times = (this.#contradicted.get(name) ?? 0) + 1
    this.#contradicted.set(name, times)
    if (times === 1) this.#look.ask(name)
    else this.#look.keepAnEyeOn(name)
    if (times !== 2) return
    this.#log[this.#contradicted.size > MOST_TOLD ? 'debug' : 'warn'](
      { event: 'node-contradicted', peer: name },
      `the annotations of Node ${name} say other addresses or pod CIDRs than its status and spec, whose word counts`,
    )
  }

  #preferMetadata(): void {
    // Whoever has just been told of something may have stopped us for it.
    if (this.#stopped || this.#undescribed || this.#described.size === 0) return
    const { items, resourceVersion } = this.#all
    if (this.#described.size * 2 < items.size || resourceVersion === undefined) return
    for (const { record } of items.values()) this.#facts.set(record.name, factsOf(record, resourceVersion))
    this.#described.clear()
    this.#followUndescribed()
    this.#all.resume()
    this.#log.info(
      { event: 'nodes-by-metadata' },
      'Nodes are watched by their metadata now, and whole where that does not say all',
    )
  }

  /** From where the watch of all is, so that neither of the two has to read anything anew, and nothing is missed. */
  #followUndescribed(): void {
    const { resourceVersion } = this.#all
    const undescribed: Reflector<NodeRecord> = new Reflector({
      ...this.#options,
      project: projectNode,
      labelSelector: `!${SELF_DESCRIBED}`,
      ...(resourceVersion !== undefined && { resourceVersion }),
      handler: {
        replaced: nodes => {
          for (const [name, node] of nodes) this.#saw(node, undescribed.versionOf(name))
        },
        upserted: (node, name) => this.#saw(node, undescribed.versionOf(name)),
        // It describes itself now, or is gone: the other watch says which.
        deleted: () => {},
      },
    })
    this.#undescribed = undescribed
    undescribed.start()
  }
}

const factsOf = ({ uid, addresses, podCidrs, faults }: NodeRecord, resourceVersion: string): Facts => ({
  ...{ uid, addresses, podCidrs, faults },
  resourceVersion,
})

const versionOf = (raw: unknown): string =>
  textOf(member(objectOf(member(objectOf(raw), 'metadata')), 'resourceVersion'), 256) ?? ''

/** Of what stands in status and spec. */
const saysTheSame = (one: Facts | NodeRecord, other: NodeRecord): boolean =>
  isDeepStrictEqual([one.addresses, one.podCidrs], [other.addresses, other.podCidrs])

function withFacts({ record, describesItself }: ListedNode, facts: Facts): NodeRecord {
  if (describesItself && saysTheSame(facts, record)) return record
  const { addresses, podCidrs } = facts
  return { ...record, addresses, podCidrs, faults: [...new Set([...facts.faults, ...record.faults])] }
}
