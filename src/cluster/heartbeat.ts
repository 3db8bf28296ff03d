import type { ApiClient } from './api-client.ts'
import { ApiError } from './api-errors.ts'
import type { Random } from './backoff.ts'
import { type Clock, systemClock } from './clock.ts'
import { isObject, member, messageOf, objectOf, quote, textOf } from './hostile.ts'
import type { Logger } from './logger.ts'
import { RateLimitedLoop } from './rate-limited-loop.ts'

/** All leases of agents, in whatever namespace they were installed. */
export const HEARTBEATS_PATH = '/apis/coordination.k8s.io/v1/leases'
export const HEARTBEATS_SELECTOR = 'app.kubernetes.io/name=podveil,app.kubernetes.io/component=agent'

const LATEST_HANDSHAKE = 'podveil.io/latest-handshake'

/**
 * Milliseconds between two renewals. Nobody watches leases, so 5,000 of them are some 80 small writes a second and nothing
 * more; a kubelet renews its own every 10 s. A patch of the Node would go to every agent instead.
 */
const PERIOD = 60_000

/** Seconds after which an agent that has not renewed counts as silent: some renewals may fail, and clocks differ. */
const DURATION = 300

/** What an agent says with each renewal. */
export interface HeartbeatContent {
  /** metadata.uid of the own Node, so that the lease goes with it. */
  readonly nodeUid: string
  /** Of any peer, RFC 3339; null for never. */
  readonly latestHandshake: string | null
}

/** What others read of it. */
export interface Heartbeat {
  readonly node: string
  /** RFC 3339. */
  readonly renewed: string
  /** Seconds for which a renewal holds. */
  readonly duration: number
  readonly latestHandshake: string | null
}

export interface HeartbeatOptions {
  readonly client: Pick<ApiClient, 'create' | 'mergePatch'>
  readonly nodeName: string
  /** Where the agent is installed. */
  readonly namespace: string
  readonly logger: Logger
  readonly clock?: Clock
  readonly random?: Random
}

/** Renews the own Lease, so that an agent that is dead does not read as one that encrypts for ever. */
export class HeartbeatPublisher {
  readonly #options: HeartbeatOptions
  readonly #clock: Clock
  readonly #loop: RateLimitedLoop
  readonly #random: Random
  #content: HeartbeatContent | undefined
  #nextAt = Number.NEGATIVE_INFINITY
  #exists = false
  #lastError: string | undefined

  constructor(options: HeartbeatOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#loop = new RateLimitedLoop({
      run: signal => this.#renew(signal),
      onFailure: error => this.#failed(error),
      limit: { interval: PERIOD, most: 4 },
      clock: this.#clock,
      ...(options.random ? { random: options.random } : {}),
    })
  }

  /** The agent is alive; renews when it is time. */
  beat(content: HeartbeatContent): void {
    this.#content = content
    const now = this.#clock.now()
    if (now < this.#nextAt) return
    // Agents that started together do not write together for ever.
    this.#nextAt = now + PERIOD * (0.8 + this.#random() * 0.2)
    this.#loop.kick()
  }

  stop(): Promise<void> {
    return this.#loop.stop()
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { client, nodeName, namespace } = this.#options
    if (!this.#content) return
    const lease = leaseOf(nodeName, namespace, this.#content, this.#clock.wall())
    const path = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/leases`
    if (!this.#exists) {
      try {
        await client.create(path, lease, { signal })
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 409)) throw error
        await client.mergePatch(`${path}/${encodeURIComponent(nodeName)}`, lease, { signal })
      }
      this.#exists = true
    } else await this.#patch(`${path}/${encodeURIComponent(nodeName)}`, lease, signal)
    this.#lastError = undefined
  }

  async #patch(path: string, lease: object, signal: AbortSignal): Promise<void> {
    try {
      await this.#options.client.mergePatch(path, lease, { signal })
    } catch (error) {
      // Somebody removed it: the next attempt makes it anew.
      if (error instanceof ApiError && error.status === 404) this.#exists = false
      throw error
    }
  }

  #failed(error: unknown): void {
    const { logger, nodeName, namespace } = this.#options
    const message = `cannot renew the Lease ${quote(nodeName)} in ${namespace}: ${messageOf(error)}`
    logger[message === this.#lastError ? 'debug' : 'warn']({ event: 'lease-unwritten' }, message)
    this.#lastError = message
  }
}

/** @param now Unix time in milliseconds */
function leaseOf(node: string, namespace: string, { nodeUid, latestHandshake }: HeartbeatContent, now: number): object {
  return {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: {
      name: node,
      namespace,
      labels: { 'app.kubernetes.io/name': 'podveil', 'app.kubernetes.io/component': 'agent' },
      annotations: { [LATEST_HANDSHAKE]: latestHandshake ?? '' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node, uid: nodeUid }],
    },
    // MicroTime has six digits.
    spec: {
      holderIdentity: node,
      leaseDurationSeconds: DURATION,
      renewTime: new Date(now).toISOString().replace(/Z$/, '000Z'),
    },
  }
}

/** @returns undefined for what is no Lease of an agent, whatever is in it */
export function readHeartbeat(raw: unknown): Heartbeat | undefined {
  const metadata = objectOf(member(objectOf(raw), 'metadata'))
  const spec = objectOf(member(objectOf(raw), 'spec'))
  const node = textOf(member(spec, 'holderIdentity'), 253)
  const renewed = textOf(member(spec, 'renewTime'), 64)
  const duration = member(spec, 'leaseDurationSeconds')
  if (node === undefined || renewed === undefined || Number.isNaN(Date.parse(renewed))) return undefined
  if (typeof duration !== 'number' || !(duration > 0)) return undefined
  const annotations = member(metadata, 'annotations')
  const handshake = isObject(annotations) ? textOf(member(annotations, LATEST_HANDSHAKE), 64) : undefined
  const latestHandshake = handshake !== undefined && !Number.isNaN(Date.parse(handshake)) ? handshake : null
  return { node, renewed, duration, latestHandshake }
}
