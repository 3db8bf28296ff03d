import { isDeepStrictEqual } from 'node:util'
import { SELF_DESCRIBED } from '#src/cluster/annotations.ts'
import type { ApiClient } from '#src/cluster/api-client.ts'
import type { Random } from '#src/cluster/backoff.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { Reflector, type ReflectorOptions } from '#src/cluster/reflector.ts'
import type { ReflectorState } from '#src/cluster/reflector-state.ts'
import { describesItself } from '#src/cluster/self-description.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { NodeLook } from './node-look.ts'

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
  /** Those of which it was said that their metadata says something else than they do. */
  readonly #told = new Set<NodeName>()
  #stopped = false

  constructor(
    client: Pick<ApiClient, 'list' | 'stream' | 'get'>,
    self: NodeName,
    log: Logger,
    handler: NodeHandler,
    random: Random = Math.random,
  ) {
    this.#self = self
    this.#log = log
    this.#handler = handler
    this.#options = { client, path: NODES, logger: log, rest: restOf }
    this.#look = new NodeLook({ client, random, seen: (name, raw) => this.#lookedAt(name, raw) })
    this.#all = new Reflector({
      ...this.#options,
      project: listedNode,
      metadataOnly: () => this.#undescribed !== undefined,
      handler: {
        replaced: items => this.#replace(items),
        upserted: item => {
          this.#take(item)
          this.#preferMetadata()
        },
        deleted: name => this.#delete(name as NodeName),
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

  /** Live. */
  get nodes(): ReadonlyMap<NodeName, NodeRecord> {
    return this.#nodes
  }

  get reflectors(): Readonly<Record<string, ReflectorState>> {
    return { nodes: this.#all.state, ...(this.#undescribed && { undescribednodes: this.#undescribed.state }) }
  }

  #replace(items: ReadonlyMap<string, ListedNode>): void {
    for (const name of this.#nodes.keys()) if (!items.has(name)) this.#forget(name)
    for (const item of items.values()) this.#set(item.record.name, this.#believed(item))
    this.#handler.replaced(this.#nodes.values())
    this.#handler.changed()
    this.#preferMetadata()
  }

  #take(item: ListedNode): void {
    this.#tell(item.record.name, this.#believed(item))
  }

  #delete(name: NodeName): void {
    this.#tell(name, undefined)
    this.#forget(name)
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
    for (const all of [this.#nodes, this.#described, this.#told]) all.delete(name)
  }

  /** What the mesh may take of another Node; undefined while nothing but its metadata was seen. */
  #believed(item: ListedNode): NodeRecord | undefined {
    if (!this.#undescribed) this.#count(item)
    const { record, describesItself } = item
    const { name, uid } = record
    if (name === this.#self) return undefined
    if (!this.#undescribed) return record
    const seen = [this.#undescribed.items.get(name), this.#nodes.get(name)].find(node => node?.uid === uid)
    const isTrue = seen !== undefined && saysTheSame(seen, record)
    if (describesItself && !isTrue) this.#look.ask(name)
    else this.#look.forget(name)
    return isTrue ? record : seen && withClaims(record, seen, describesItself)
  }

  #count({ record, describesItself }: ListedNode): void {
    if (describesItself) this.#described.add(record.name)
    else this.#described.delete(record.name)
  }

  #lookedAt(name: NodeName, raw: unknown): void {
    const item = this.#all.items.get(name)
    const node = raw === undefined ? undefined : projectNode(raw)
    // What the watch has not told yet it will: that the Node is gone, or that it is another one.
    if (!item || node?.uid !== item.record.uid) return
    if (item.describesItself && !saysTheSame(node, item.record)) this.#contradicts(name)
    else this.#look.forget(name)
    this.#tell(name, withClaims(item.record, node, item.describesItself))
  }

  #contradicts(name: NodeName): void {
    this.#look.keepAnEyeOn(name)
    if (this.#told.has(name)) return
    this.#told.add(name)
    this.#log[this.#told.size > MOST_TOLD ? 'debug' : 'warn'](
      { event: 'node-contradicted', peer: name },
      `the annotations of Node ${name} say other addresses or pod CIDRs than its status and spec, whose word counts`,
    )
  }

  /** Both watches take up where this one is, so that neither has to read anything anew, and nothing is missed. */
  #preferMetadata(): void {
    const { resourceVersion } = this.#all
    const { size } = this.#all.items
    // Whoever has just been told of something may have stopped us for it.
    if (this.#stopped || this.#undescribed || this.#described.size * 2 < size || resourceVersion === undefined) return
    const reconsider = (name: string): void => {
      const item = this.#all.items.get(name)
      if (item) this.#take(item)
    }
    this.#undescribed = new Reflector({
      ...this.#options,
      project: projectNode,
      labelSelector: `!${SELF_DESCRIBED}`,
      resourceVersion,
      handler: {
        replaced: nodes => nodes.keys().forEach(reconsider),
        upserted: ({ name }) => reconsider(name),
        // It describes itself now, or is gone: the other watch says which.
        deleted: () => {},
      },
    })
    this.#described.clear()
    this.#undescribed.start()
    this.#all.resume()
    this.#log.info(
      { event: 'nodes-by-metadata' },
      'Nodes are watched by their metadata now, and whole where that does not say all',
    )
  }
}

function listedNode(raw: unknown): ListedNode | undefined {
  const record = projectNode(raw)
  return record && { record, describesItself: describesItself(raw) }
}

/** Of what stands in status and spec. */
const saysTheSame = (one: NodeRecord, other: NodeRecord): boolean =>
  isDeepStrictEqual([one.addresses, one.podCidrs], [other.addresses, other.podCidrs])

/** @param seen the same Node as it was last seen whole */
function withClaims(record: NodeRecord, seen: NodeRecord, describesItself: boolean): NodeRecord {
  const { addresses, podCidrs } = seen
  const faults = describesItself ? record.faults : [...new Set([...seen.faults, ...record.faults])]
  return { ...record, addresses, podCidrs, faults }
}
