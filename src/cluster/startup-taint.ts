import type { ApiClient } from './api-client.ts'
import { type Clock, systemClock } from './clock.ts'
import { listOf, member, messageOf, objectOf, quote, textOf } from './hostile.ts'
import type { Logger } from './logger.ts'
import { RateLimitedLoop } from './rate-limited-loop.ts'

/** Keeps Pods off a node that was registered with it until the node encrypts. */
export const STARTUP_TAINT = 'podveil.io/agent-not-ready'

/** The taints that stay when ours goes, or undefined when it is not among them. */
export function withoutStartupTaint(node: unknown): readonly unknown[] | undefined {
  const taints = listOf(member(objectOf(member(objectOf(node), 'spec')), 'taints'))
  const others = taints.filter(taint => member(objectOf(taint), 'key') !== STARTUP_TAINT)
  return others.length < taints.length ? others : undefined
}

export interface StartupTaintOptions {
  readonly client: Pick<ApiClient, 'get' | 'mergePatch'>
  readonly nodeName: string
  readonly logger: Logger
  readonly clock?: Clock
}

/** Takes the start-up taint off the own Node, once it is asked to. Other taints are never touched. */
export class StartupTaint {
  readonly #options: StartupTaintOptions
  readonly #loop: RateLimitedLoop
  readonly #path: string
  #lastError: string | undefined

  constructor(options: StartupTaintOptions) {
    this.#options = options
    this.#path = `/api/v1/nodes/${encodeURIComponent(options.nodeName)}`
    this.#loop = new RateLimitedLoop({
      run: signal => this.#remove(signal),
      onFailure: error => this.#failed(error),
      limit: { interval: 60_000, most: 6 },
      clock: options.clock ?? systemClock,
    })
  }

  remove(): void {
    this.#loop.kick()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  async #remove(signal: AbortSignal): Promise<void> {
    const { client, logger } = this.#options
    const node = await client.get(this.#path, { signal })
    const taints = withoutStartupTaint(node)
    if (taints === undefined) return
    // The list is replaced as a whole: the version makes it fail where somebody else has changed the Node meanwhile.
    const resourceVersion = textOf(member(objectOf(member(objectOf(node), 'metadata')), 'resourceVersion'), 256)
    const patch = { metadata: { resourceVersion }, spec: { taints: taints.length > 0 ? taints : null } }
    await client.mergePatch(this.#path, patch, { fieldManager: 'podveil', signal })
    this.#lastError = undefined
    logger.info({ event: 'startup-taint-removed' }, `took the taint ${STARTUP_TAINT} off this Node: Pods may come`)
  }

  #failed(error: unknown): void {
    const { logger, nodeName } = this.#options
    const message = `cannot take the taint ${STARTUP_TAINT} off Node ${quote(nodeName)}: ${messageOf(error)}`
    logger[message === this.#lastError ? 'debug' : 'warn']({ event: 'startup-taint-unwritten' }, message)
    this.#lastError = message
  }
}
