import type { PairState } from '#src/status/tally.ts'
import { plainText, type TextAnswer } from './http-endpoint.ts'

/** Milliseconds without a finished pass after which the agent is stuck, not slow. */
const STUCK = 120_000

/** `encrypted`: also not ready while pod traffic to a peer goes in clear that should not. */
export type ReadinessPolicy = 'agent' | 'encrypted'

/** What /readyz answers by that policy. @param inClear nodes that pods of this node talk to in clear, and why */
export function readinessOf(
  policy: ReadinessPolicy,
  health: Pick<Health, 'readyz'>,
  inClear: () => readonly PairState[],
): () => TextAnswer {
  return () => {
    const answer = health.readyz()
    if (policy === 'agent' || answer.status !== 200) return answer
    const pairs = inClear()
    return pairs.length === 0
      ? answer
      : plainText(503, pairs.map(({ node, reason }) => `in clear: ${node}: ${reason}`).join('\n'))
  }
}

/** What the agent is doing, as probes and people ask. */
export class Health {
  /** Why it is not ready, by concern; empty when it is. Until the first pass has ended nothing is known. */
  readonly #missing = new Map([['agent', 'nothing has been looked at yet']])
  readonly #idleFor: () => number
  readonly #firstReady = Promise.withResolvers<void>()

  /** @param idleFor milliseconds since the last pass ended */
  constructor(idleFor: () => number) {
    this.#idleFor = idleFor
  }

  /** @param reason undefined when all is well with this concern */
  set(concern: string, reason: string | undefined): void {
    if (reason === undefined) this.#missing.delete(concern)
    else this.#missing.set(concern, reason)
    if (this.ready) this.#firstReady.resolve()
  }

  /** It has been ready once: what only a start needs is done. */
  get firstReady(): Promise<void> {
    return this.#firstReady.promise
  }

  get ready(): boolean {
    return this.#missing.size === 0
  }

  readonly livez = (): TextAnswer => {
    const idle = this.#idleFor()
    return idle < STUCK ? plainText(200, 'ok') : plainText(503, `no pass has ended for ${Math.round(idle / 1000)} s`)
  }

  readonly readyz = (): TextAnswer => {
    if (this.ready) return plainText(200, 'ok')
    return plainText(503, [...this.#missing].map(([concern, reason]) => `${concern}: ${reason}`).join('\n'))
  }
}
