import { isDeepStrictEqual } from 'node:util'
import type { ApiClient } from '#src/cluster/api-client.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { MESH_NODES, projectMeshNode } from '#src/cluster/mesh-node.ts'
import { Reflector, type ReflectorOptions } from '#src/cluster/reflector.ts'
import type { ReflectorState } from '#src/cluster/reflector-state.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerSource } from '#src/mesh/peer-source.ts'
import { FAMILIES } from '#wg/ip.ts'
import { MeshNodeTable } from './mesh-node-table.ts'
import { NodeCensus } from './node-census.ts'
import { NODES, NodeFeed, type NodeHandler } from './node-feed.ts'
import { type OwnNode, ownNode } from './own-node.ts'

/** Thousands of agents would look for a definition that few clusters have. */
const ABSENT_DEFINITION = { least: 20_000, most: 60_000 }

/**
 * Milliseconds for which it is not told who is waited for. A key that was just published is on the Node a moment before
 * it is on the MeshNode.
 */
const PATIENCE = 5_000

/** As many Nodes are named in a sentence. */
const MOST_NAMED = 5

type Client = Pick<ApiClient, 'list' | 'stream' | 'get'>

export interface PeerHandler extends NodeHandler {
  /** Our own Node; undefined when it is gone. */
  own(node: OwnNode | undefined): void
}

/**
 * Reads our own Node, and the other nodes from the source that the operator asks for: their Nodes, or their MeshNodes. It
 * begins with Nodes, whatever is asked for, and goes from one source to the other in one step when the other has been
 * read whole and says the same of every node that encrypts. So a change of source changes nothing in the mesh.
 */
export class PeerFeed {
  readonly #client: Client
  readonly #self: NodeName
  readonly #log: Logger
  readonly #handler: PeerHandler
  readonly #table: MeshNodeTable
  readonly #census: NodeCensus
  #nodes: NodeFeed | undefined
  readonly #own: Reflector<OwnNode>
  #meshNodes: Reflector<NodeRecord> | undefined
  #asked: PeerSource = 'Nodes'
  #source: PeerSource = 'Nodes'
  #established = false
  #stopped = false
  readonly #patience: number
  #held: Hold | undefined
  #patient: NodeJS.Timeout | undefined
  #waitsFor: readonly NodeName[] = []

  /** @param patience milliseconds for which it is not told who is waited for */
  constructor(client: Client, self: NodeName, log: Logger, handler: PeerHandler, patience: number = PATIENCE) {
    this.#patience = patience
    this.#client = client
    this.#self = self
    this.#log = log
    this.#handler = handler
    this.#own = this.#followOwn()
    this.#table = new MeshNodeTable(client, self, log, {
      put: node => handler.put(node),
      deleted: name => handler.deleted(name),
      changed: () => this.#heard(),
    })
    this.#census = new NodeCensus({
      client,
      logger: log,
      known: () => this.#table.size + 1,
      counted: names => this.#table.compare(names),
    })
  }

  start(): void {
    this.#begin(this.#own)
    this.#nodes = this.#followNodes()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#patient)
    this.#census.stop()
    await Promise.all([this.#nodes?.stop(), this.#own.stop(), this.#meshNodes?.stop(), this.#table.stop()])
  }

  /** The nodes have been read whole at least once. */
  get synced(): boolean {
    return this.#established
  }

  /** Where the nodes come from now, whatever is asked for. */
  get source(): PeerSource {
    return this.#source
  }

  /** Nodes of which no MeshNode says what they say themselves: they are waited for, or read themselves now and then. */
  get withoutMeshNode(): number {
    return this.#source === 'MeshNodes' ? this.#table.withoutMeshNode : this.#waitsFor.length
  }

  /** Why what is asked for is not done; undefined where it is, or will be in a moment. */
  get refusal(): string | undefined {
    return this.#held?.why
  }

  /** What our own MeshNode says; undefined where there is none, and where MeshNodes are not read. */
  get ownMeshNode(): NodeRecord | undefined {
    return this.#meshNodes?.items.get(this.#self)
  }

  /** MeshNodes have been read whole. */
  get readsMeshNodes(): boolean {
    return this.#meshNodes?.state.synced === true && this.#meshNodes.state.phase !== 'absent'
  }

  get reflectors(): Readonly<Record<string, ReflectorState>> {
    return {
      node: this.#own.state,
      ...this.#nodes?.reflectors,
      ...(this.#meshNodes && { meshnodes: this.#meshNodes.state }),
    }
  }

  ask(source: PeerSource): void {
    if (source === this.#asked) return
    this.#asked = source
    this.#release()
    if (source === 'MeshNodes') this.#meshNodes ??= this.#begin(this.#followMeshNodes())
    this.#settle()
  }

  #heard(): void {
    if (!this.#established) this.#establish()
    this.#settle()
    this.#handler.changed()
  }

  #establish(): void {
    if (!this.#nodes?.synced || !this.#own.state.synced) return
    this.#established = true
    this.#handler.own(this.#ownNode)
    this.#handler.replaced(this.#withOwn(this.#nodes.nodes.values()))
  }

  get #ownNode(): OwnNode | undefined {
    return this.#own.items.get(this.#self)
  }

  #withOwn(others: Iterable<NodeRecord>): readonly NodeRecord[] {
    const own = this.#ownNode
    return [...others, ...(own ? [own.record] : [])]
  }

  /** Nothing is taken from a source before it was read whole: until then the one before it counts. */
  #settle(): void {
    if (!this.#established || this.#stopped) return
    const absent = this.#meshNodes?.state.phase === 'absent'
    if (this.#asked === 'Nodes' || absent) this.#settleOnNodes(absent)
    else this.#settleOnMeshNodes()
  }

  #settleOnNodes(absent: boolean): void {
    this.#waitsFor = []
    this.#stopWaiting()
    if (absent && this.#asked === 'MeshNodes') this.#hold(NO_DEFINITION)
    else this.#held = undefined
    if (this.#source === 'MeshNodes') {
      this.#nodes ??= this.#followNodes()
      if (!this.#nodes.synced) return
      this.#table.clear()
      this.#swap('Nodes', this.#nodes.nodes.values())
    }
    if (this.#asked === 'MeshNodes') return
    void this.#meshNodes?.stop()
    this.#meshNodes = undefined
  }

  #settleOnMeshNodes(): void {
    const [nodes, meshNodes] = [this.#nodes, this.#meshNodes]
    if (this.#source === 'MeshNodes') {
      // Asked for again while Nodes were being read.
      if (nodes) this.#endNodes(nodes)
      return
    }
    // One that was not seen whole yet may encrypt, and not be among them.
    if (!nodes?.complete || !meshNodes?.state.synced) return
    this.#waitsFor = nodes.nodes
      .values()
      .filter(node => announces(node) && !saysTheSame(node, meshNodes.items.get(node.name)))
      .map(({ name }) => name)
      .toArray()
    if (this.#waitsFor.length > 0) {
      this.#wait()
      return
    }
    this.#release()
    this.#swap('MeshNodes', this.#table.begin(nodes.nodes.values(), meshNodes.items))
    this.#endNodes(nodes)
  }

  #swap(source: PeerSource, others: Iterable<NodeRecord>): void {
    this.#log.info({ event: 'peer-source-changed' }, `the other nodes are read from ${source} now`)
    this.#source = source
    if (source === 'MeshNodes') this.#census.start()
    else this.#census.stop()
    this.#handler.replaced(this.#withOwn(others))
  }

  #endNodes(nodes: NodeFeed): void {
    this.#nodes = undefined
    void nodes.stop()
  }

  /** Told once for each kind, however the names in it change. */
  #hold(hold: Hold): void {
    if (hold.kind !== this.#held?.kind) this.#log.warn({ event: 'peer-source-held' }, hold.why)
    this.#held = hold
  }

  #release(): void {
    this.#stopWaiting()
    this.#held = undefined
  }

  #stopWaiting(): void {
    clearTimeout(this.#patient)
    this.#patient = undefined
  }

  #wait(): void {
    if (this.#held?.kind === 'nodes') this.#hold({ kind: 'nodes', why: waiting(this.#waitsFor) })
    this.#patient ??= setTimeout(() => {
      this.#hold({ kind: 'nodes', why: waiting(this.#waitsFor) })
      this.#handler.changed()
    }, this.#patience)
  }

  #followNodes(): NodeFeed {
    const isRead = () => this.#established && this.#source === 'Nodes'
    const feed = new NodeFeed(this.#client, this.#self, this.#log, {
      replaced: nodes => {
        if (isRead()) this.#handler.replaced(this.#withOwn(nodes))
      },
      put: node => {
        if (isRead()) this.#handler.put(node)
      },
      deleted: name => {
        if (isRead()) this.#handler.deleted(name)
      },
      changed: () => this.#heard(),
    })
    feed.start()
    return feed
  }

  #followOwn(): Reflector<OwnNode> {
    const take = (node: OwnNode | undefined): void => {
      if (this.#established) {
        this.#handler.own(node)
        if (node) this.#handler.put(node.record)
        else this.#handler.deleted(this.#self)
      }
      this.#heard()
    }
    return this.#follow<OwnNode>({
      path: NODES,
      fieldSelector: `metadata.name=${this.#self}`,
      // A server that does not heed the selector is no reason to hold all Nodes twice.
      project: raw => {
        const node = ownNode(raw)
        return node?.record.name === this.#self ? node : undefined
      },
      handler: {
        replaced: items => take(items.get(this.#self)),
        upserted: node => take(node),
        deleted: () => take(undefined),
      },
    })
  }

  #followMeshNodes(): Reflector<NodeRecord> {
    return this.#follow<NodeRecord>({
      path: MESH_NODES,
      project: projectMeshNode,
      optional: true,
      absentMs: ABSENT_DEFINITION,
      handler: {
        // In a moment only the reflector knows whether there are none, or no definition of them.
        replaced: items =>
          queueMicrotask(() => {
            if (this.#source === 'MeshNodes' && this.readsMeshNodes) this.#table.replace(items)
            this.#heard()
          }),
        upserted: node => {
          if (this.#source === 'MeshNodes') this.#table.put(node)
          this.#heard()
        },
        deleted: name => {
          if (this.#source === 'MeshNodes') this.#table.delete(name as NodeName)
          this.#heard()
        },
      },
    })
  }

  #follow<T>(options: Omit<ReflectorOptions<T>, 'client' | 'logger'>): Reflector<T> {
    return new Reflector({ client: this.#client, logger: this.#log, ...options })
  }

  #begin<T>(reflector: Reflector<T>): Reflector<T> {
    reflector.start()
    // Stopping before the first list is complete is no failure.
    reflector.synced.then(
      () => this.#heard(),
      () => {},
    )
    return reflector
  }
}

interface Hold {
  readonly kind: 'definition' | 'nodes'
  readonly why: string
}

const NO_DEFINITION: Hold = {
  kind: 'definition',
  why: 'peerSource MeshNodes waits: the API server does not serve MeshNodes. Apply manifests/crds/podveil; the nodes are read from Nodes until then',
}

const waiting = (names: readonly NodeName[]): string =>
  `peerSource MeshNodes waits for the MeshNodes of ${names.length} nodes that encrypt: ${names.slice(0, MOST_NAMED).join(', ')}${names.length > MOST_NAMED ? ', …' : ''}. Their agents are older, or not Podveil's; the nodes are read from Nodes until then`

const announces = ({ announced, spare }: NodeRecord): boolean =>
  FAMILIES.some(family => announced[family] !== undefined || spare[family] !== undefined)

/** What only the agent can know: all else is read from the Node in either case. */
const saysTheSame = (node: NodeRecord, meshNode: NodeRecord | undefined): boolean =>
  meshNode !== undefined && isDeepStrictEqual([meshNode.announced, meshNode.spare], [node.announced, node.spare])
