import type { ApiClient } from '#src/cluster/api-client.ts'
import { between, type Random } from '#src/cluster/backoff.ts'
import { type Clock, systemClock } from '#src/cluster/clock.ts'
import { member, messageOf, objectOf, textOf } from '#src/cluster/hostile.ts'
import type { Logger } from '#src/cluster/logger.ts'
import type { NodeName } from '#src/mesh/node-record.ts'

const NODES = '/api/v1/nodes'

/** Milliseconds between two counts. */
const PERIOD = { least: 300_000, most: 600_000 }

/** Metadata alone: some 4 kB for a Node in place of 10. */
const METADATA = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json'

export interface NodeCensusOptions {
  readonly client: Pick<ApiClient, 'get' | 'list'>
  readonly logger: Logger
  /** How many Nodes we know of, our own among them. */
  readonly known: () => number
  /** The names of all Nodes, when there are more or fewer than we know of. */
  readonly counted: (names: ReadonlySet<NodeName>) => void
  readonly clock?: Clock
  readonly random?: Random
}

/**
 * Counts the Nodes now and then, by asking for one and for how many there are beside it: who reads MeshNodes alone never
 * hears of a node whose agent writes none.
 */
export class NodeCensus {
  readonly #options: NodeCensusOptions
  readonly #clock: Clock
  readonly #random: Random
  #cancel: (() => void) | undefined
  #stopping = new AbortController()

  constructor(options: NodeCensusOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
  }

  start(): void {
    this.stop()
    this.#stopping = new AbortController()
    this.#wait(this.#stopping.signal)
  }

  /** Idempotent. */
  stop(): void {
    this.#cancel?.()
    this.#stopping.abort()
  }

  #wait(signal: AbortSignal): void {
    if (signal.aborted) return
    this.#cancel = this.#clock.after(between(PERIOD.least, PERIOD.most, this.#random), () => {
      void this.#count(signal).finally(() => this.#wait(signal))
    })
  }

  async #count(signal: AbortSignal): Promise<void> {
    const { client, logger, known, counted } = this.#options
    try {
      const first = objectOf(await client.get(NODES, { query: { limit: 1 }, accept: METADATA, signal }))
      const beside = member(objectOf(member(first, 'metadata')), 'remainingItemCount') ?? 0
      if (signal.aborted || typeof beside !== 'number' || beside + 1 === known()) return
      const names = new Set<NodeName>()
      for await (const { items } of client.list(NODES, { accept: METADATA, signal }))
        for (const item of items) {
          const name = textOf(member(objectOf(member(objectOf(item), 'metadata')), 'name'), 253)
          if (name) names.add(name as NodeName)
        }
      if (!signal.aborted) counted(names)
    } catch (error) {
      // It is tried again in a few minutes, and those who watch have their own to say of a server that does not answer.
      if (!signal.aborted) logger.debug({ event: 'nodes-uncounted' }, `cannot count the Nodes: ${messageOf(error)}`)
    }
  }
}
