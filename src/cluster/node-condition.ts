import type { ApiClient } from './api-client.ts'
import type { Random } from './backoff.ts'
import { type Clock, systemClock } from './clock.ts'
import { clip, listOf, member, messageOf, objectOf, quote } from './hostile.ts'
import type { Logger } from './logger.ts'
import { type RateLimit, RateLimitedLoop } from './rate-limited-loop.ts'

/** The type of our condition among those of a Node. */
export const CONDITION_TYPE = 'EncryptionReady'

export interface ConditionContent {
  readonly status: 'True' | 'False' | 'Unknown'
  /** UpperCamelCase. */
  readonly reason: string
  readonly message: string
}

/** A condition as the API has it; times are RFC 3339. */
export interface NodeCondition extends ConditionContent {
  readonly type: string
  readonly lastHeartbeatTime: string
  readonly lastTransitionTime: string
}

/**
 * The condition to write, or undefined when the Node has it already.
 * @param present status.conditions of the Node, as it was read
 * @param now Unix time in milliseconds
 */
export function nextCondition(present: unknown, wanted: ConditionContent, now: number): NodeCondition | undefined {
  const old = listOf(present)
    .map(objectOf)
    .find(condition => member(condition, 'type') === CONDITION_TYPE)
  const content = {
    status: wanted.status,
    reason: clip(wanted.reason, 256),
    message: clip(wanted.message, 1000),
  }
  const { status, reason, message } = content
  if (old && old.status === status && old.reason === reason && old.message === message) return undefined
  const time = new Date(now).toISOString().replace(/\.\d+Z$/, 'Z')
  const since = old?.status === status && typeof old.lastTransitionTime === 'string' ? old.lastTransitionTime : time
  return { type: CONDITION_TYPE, ...content, lastHeartbeatTime: time, lastTransitionTime: since }
}

/** A strategic merge patch of nodes/status: conditions merge by `type`, so that the kubelet's stay as they are. */
export const conditionPatch = (condition: NodeCondition): object => ({ status: { conditions: [condition] } })

export interface ConditionPublisherOptions {
  readonly client: Pick<ApiClient, 'get' | 'strategicMergePatch'>
  readonly nodeName: string
  readonly logger: Logger
  /** Default: 4 patches in any 60 s. A condition says how it is, not all that happened. */
  readonly limit?: RateLimit
  readonly clock?: Clock
  readonly random?: Random
}

/** Keeps our condition on the own Node, and writes only when it says something else than it must. */
export class ConditionPublisher {
  readonly #options: ConditionPublisherOptions
  readonly #clock: Clock
  readonly #loop: RateLimitedLoop
  readonly #path: string
  #wanted: ConditionContent | undefined
  #lastError: string | undefined

  constructor(options: ConditionPublisherOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#path = `/api/v1/nodes/${encodeURIComponent(options.nodeName)}`
    this.#loop = new RateLimitedLoop({
      run: signal => this.#publish(signal),
      onFailure: error => this.#failed(error),
      limit: options.limit ?? { interval: 60_000, most: 4 },
      clock: this.#clock,
      ...(options.random ? { random: options.random } : {}),
    })
  }

  set(wanted: ConditionContent): void {
    const { status, reason, message } = this.#wanted ?? {}
    if (status === wanted.status && reason === wanted.reason && message === wanted.message) return
    this.#wanted = wanted
    this.#loop.kick()
  }

  /** status.conditions of the own Node, whenever the watch tells: what somebody removed is written again. */
  observed(conditions: unknown): void {
    if (this.#wanted && nextCondition(conditions, this.#wanted, 0)) this.#loop.kick()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  async #publish(signal: AbortSignal): Promise<void> {
    if (!this.#wanted) return
    const node = objectOf(await this.#options.client.get(this.#path, { signal }))
    const condition = nextCondition(
      member(objectOf(member(node, 'status')), 'conditions'),
      this.#wanted,
      this.#clock.wall(),
    )
    if (condition)
      await this.#options.client.strategicMergePatch(`${this.#path}/status`, conditionPatch(condition), {
        fieldManager: 'podveil',
        signal,
      })
    this.#lastError = undefined
  }

  #failed(error: unknown): void {
    const { logger, nodeName } = this.#options
    const message = `cannot write the condition ${CONDITION_TYPE} of Node ${quote(nodeName)}: ${messageOf(error)}`
    logger[message === this.#lastError ? 'debug' : 'warn']({ event: 'condition-unwritten' }, message)
    this.#lastError = message
  }
}
