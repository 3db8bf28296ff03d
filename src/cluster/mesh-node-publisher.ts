import { isDeepStrictEqual } from 'node:util'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import type { ApiClient } from './api-client.ts'
import { ApiError } from './api-errors.ts'
import { between, type Random } from './backoff.ts'
import { type Clock, systemClock } from './clock.ts'
import { type JsonObject, messageOf } from './hostile.ts'
import type { Logger } from './logger.ts'
import { MESH_NODES, meshNodePatch, meshNodeSpec } from './mesh-node.ts'
import { type RateLimit, RateLimitedLoop } from './rate-limited-loop.ts'

export interface MeshNodePublisherOptions {
  readonly client: Pick<ApiClient, 'create' | 'mergePatch'>
  readonly logger: Logger
  /** Default: 5 writes in any 10 s. */
  readonly limit?: RateLimit
  readonly clock?: Clock
  readonly random?: Random
}

/** Milliseconds between two tries where MeshNodes are not served, or not ours to write: few clusters have them. */
const SELDOM = { least: 120_000, most: 300_000 }

/** A write may be refused because the API server has not heard yet of what it is judged by; more often it is not that. */
const REFUSALS_BELIEVED = 4

/**
 * Keeps the own MeshNode saying what the own Node says, whichever of the two anybody reads. It is written when what it
 * says changes, and when somebody else changed it.
 */
export class MeshNodePublisher {
  readonly #options: MeshNodePublisherOptions
  readonly #clock: Clock
  readonly #random: Random
  readonly #loop: RateLimitedLoop
  #node: NodeRecord | undefined
  /** As last seen; null before that. */
  #said: NodeRecord | undefined | null = null
  #refusals = 0
  #stopped = false
  #cancelRetry: (() => void) | undefined
  #lastError: string | undefined

  constructor(options: MeshNodePublisherOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#loop = new RateLimitedLoop({
      run: signal => this.#write(signal),
      onFailure: error => this.#failed(error),
      limit: options.limit ?? { interval: 10_000, most: 5 },
      clock: this.#clock,
      random: this.#random,
    })
  }

  /** Our own Node, as the API server has it. */
  setDesired(node: NodeRecord | undefined): void {
    if (!node || node === this.#node) return
    const before = this.#node
    this.#node = node
    if (!before || !isDeepStrictEqual(withoutFaults(before), withoutFaults(node))) this.#kick()
  }

  /** Our own MeshNode, as the watch sees it; undefined when there is none. To be called only where MeshNodes are read. */
  observed(meshNode: NodeRecord | undefined): void {
    if (meshNode === this.#said) return
    this.#said = meshNode
    if (this.#node && (!meshNode || !isDeepStrictEqual(withoutFaults(meshNode), withoutFaults(this.#node))))
      this.#kick()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancelRetry?.()
    await this.#loop.stop()
  }

  #kick(): void {
    if (this.#stopped) return
    this.#cancelRetry?.()
    this.#cancelRetry = undefined
    this.#loop.kick()
  }

  async #write(signal: AbortSignal): Promise<void> {
    const node = this.#node
    if (!node) return
    const { client, logger } = this.#options
    const spec = meshNodeSpec(node)
    const options = { fieldManager: 'podveil', signal }
    try {
      try {
        await client.mergePatch(
          `${MESH_NODES}/${encodeURIComponent(node.name)}`,
          resource(node, meshNodePatch(spec)),
          options,
        )
      } catch (error) {
        if (!isStatus(error, 404)) throw error
        await client.create(MESH_NODES, resource(node, spec), options)
      }
    } catch (error) {
      if (isStatus(error, 404)) return this.#unserved()
      if (isStatus(error, 403) && ++this.#refusals >= REFUSALS_BELIEVED) {
        this.#failed(error)
        return this.#later()
      }
      throw error
    }
    this.#refusals = 0
    this.#lastError = undefined
    logger.debug({ event: 'mesh-node-published' }, 'wrote our MeshNode')
  }

  #unserved(): void {
    this.#options.logger.debug({ event: 'mesh-node-unserved' }, 'the API server does not serve MeshNodes')
    this.#later()
  }

  #later(): void {
    if (!this.#stopped)
      this.#cancelRetry = this.#clock.after(between(SELDOM.least, SELDOM.most, this.#random), () => this.#kick())
  }

  #failed(error: unknown): void {
    const message = `cannot write this node's MeshNode: ${messageOf(error)}`
    this.#options.logger[message === this.#lastError ? 'debug' : 'warn']({ event: 'mesh-node-unwritten' }, message)
    this.#lastError = message
  }
}

const resource = ({ name, uid }: NodeRecord, spec: JsonObject): JsonObject => ({
  apiVersion: 'podveil.io/v1alpha1',
  kind: 'MeshNode',
  // The API server's collector removes it after the Node.
  metadata: { name, ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name, uid }] },
  spec,
})

const withoutFaults = (node: NodeRecord): NodeRecord => ({ ...node, faults: [] })

const isStatus = (error: unknown, status: number): boolean => error instanceof ApiError && error.status === status
