import { isDeepStrictEqual } from 'node:util'
import type { ApiClient } from '#src/cluster/api-client.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { NodeLook } from './node-look.ts'

/** More lines of one kind would drown what else the log has to say. */
const MOST_TOLD = 20

export interface MeshNodeTableHandler {
  put(node: NodeRecord): void
  deleted(name: NodeName): void
  /** After each of these. */
  changed(): void
}

/**
 * The other nodes as their MeshNodes have them. An agent is believed what it publishes of its own device, and nothing
 * else: birth, addresses and pod CIDRs are those of the Node itself, which is read when a MeshNode says other ones than
 * before, and when a MeshNode goes. A node goes when its Node does, not with its MeshNode.
 */
export class MeshNodeTable {
  readonly #self: NodeName
  readonly #log: Logger
  readonly #handler: MeshNodeTableHandler
  readonly #look: NodeLook
  /** Nodes as they were last read themselves. */
  readonly #nodes = new Map<NodeName, NodeRecord>()
  readonly #meshNodes = new Map<NodeName, NodeRecord>()
  /** Those whose MeshNode is gone, and whose Node has not been looked at since. */
  readonly #gone = new Set<NodeName>()
  readonly #without = new Set<NodeName>()
  /** Those of which it was said that their MeshNode says something else. */
  readonly #told = new Set<NodeName>()

  constructor(client: Pick<ApiClient, 'get'>, self: NodeName, log: Logger, handler: MeshNodeTableHandler) {
    this.#self = self
    this.#log = log
    this.#handler = handler
    this.#look = new NodeLook({ client, seen: (name, raw) => this.#seen(name, raw) })
  }

  /** Nodes that have no MeshNode. */
  get withoutMeshNode(): number {
    return this.#without.size
  }

  /**
   * @param nodes all others, as just read
   * @returns what the mesh is to take of them
   */
  begin(nodes: Iterable<NodeRecord>, meshNodes: ReadonlyMap<string, NodeRecord>): readonly NodeRecord[] {
    this.clear()
    for (const node of nodes) this.#nodes.set(node.name, node)
    for (const meshNode of meshNodes.values()) this.#take(meshNode)
    for (const name of this.#nodes.keys()) if (!this.#meshNodes.has(name)) this.#misses(name)
    return [...this.#nodes.values()].map(node => this.#made(node))
  }

  clear(): void {
    this.#look.clear()
    for (const all of [this.#nodes, this.#meshNodes, this.#gone, this.#without, this.#told]) all.clear()
  }

  /** The other nodes that are known of. */
  get size(): number {
    return this.#nodes.size
  }

  /** Looks at Nodes that are not known of, and at those that are no more. @param names of all Nodes */
  compare(names: ReadonlySet<NodeName>): void {
    for (const name of names) if (name !== this.#self && !this.#nodes.has(name)) this.#look.ask(name)
    for (const name of this.#nodes.keys()) if (!names.has(name)) this.#look.ask(name)
  }

  put(meshNode: NodeRecord): void {
    if (this.#take(meshNode)) this.#tell(meshNode.name)
  }

  replace(meshNodes: ReadonlyMap<string, NodeRecord>): void {
    for (const name of this.#meshNodes.keys()) if (!meshNodes.has(name)) this.delete(name)
    for (const meshNode of meshNodes.values())
      if (!isDeepStrictEqual(this.#meshNodes.get(meshNode.name), meshNode)) this.put(meshNode)
  }

  /** Whether the node is gone as well is for its Node to say; until then all stays as it was. */
  delete(name: NodeName): void {
    if (name === this.#self) return
    this.#look.ask(name)
    this.#gone.add(name)
  }

  stop(): Promise<void> {
    return this.#look.stop()
  }

  /** @returns whether the Node is known, and says the same of itself */
  #take(meshNode: NodeRecord): boolean {
    const { name } = meshNode
    if (name === this.#self) return false
    this.#gone.delete(name)
    this.#meshNodes.set(name, meshNode)
    this.#without.delete(name)
    const node = this.#nodes.get(name)
    if (node && isDeepStrictEqual(claims(node), claims(meshNode))) {
      this.#look.forget(name)
      this.#told.delete(name)
      return true
    }
    this.#look.ask(name)
    return false
  }

  #seen(name: NodeName, raw: unknown): void {
    const node = raw === undefined ? undefined : projectNode(raw)
    if (this.#gone.delete(name)) this.#meshNodes.delete(name)
    if (!node) {
      this.#look.forget(name)
      for (const all of [this.#nodes, this.#meshNodes, this.#without, this.#told]) all.delete(name)
      this.#handler.deleted(name)
      this.#handler.changed()
      return
    }
    this.#nodes.set(name, node)
    const meshNode = this.#meshNodes.get(name)
    if (!meshNode) this.#misses(name)
    else if (!isDeepStrictEqual(claims(node), claims(meshNode))) this.#contradicts(name)
    else this.#look.forget(name)
    this.#tell(name)
  }

  #misses(name: NodeName): void {
    this.#look.keepAnEyeOn(name)
    if (this.#without.has(name)) return
    this.#without.add(name)
    this.#log[this.#without.size > MOST_TOLD ? 'debug' : 'info'](
      { event: 'mesh-node-missing', peer: name },
      `Node ${name} has no MeshNode: it is read itself, and what changes there is seen late`,
    )
  }

  #contradicts(name: NodeName): void {
    this.#look.keepAnEyeOn(name)
    if (this.#told.has(name)) return
    this.#told.add(name)
    this.#log.warn(
      { event: 'mesh-node-contradicted', peer: name },
      `MeshNode ${name} says other addresses, pod CIDRs or another birth than its Node, whose word counts`,
    )
  }

  #made(node: NodeRecord): NodeRecord {
    const meshNode = this.#meshNodes.get(node.name)
    if (!meshNode) return node
    const { announced, spare, faults } = meshNode
    return { ...node, announced, spare, faults }
  }

  #tell(name: NodeName): void {
    const node = this.#nodes.get(name)
    if (!node) return
    this.#handler.put(this.#made(node))
    this.#handler.changed()
  }
}

/** What a Node says of itself, and no agent for it. */
const claims = ({ uid, createdAt, addresses, podCidrs, tunnels }: NodeRecord): readonly unknown[] => [
  uid,
  createdAt,
  addresses,
  podCidrs,
  tunnels,
]
