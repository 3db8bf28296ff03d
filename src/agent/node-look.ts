import type { ApiClient } from '#src/cluster/api-client.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import { Backoff, between, type Random } from '#src/cluster/backoff.ts'
import { type Clock, sleep, systemClock } from '#src/cluster/clock.ts'
import type { NodeName } from '#src/mesh/node-record.ts'

export interface NodeLookOptions {
  readonly client: Pick<ApiClient, 'get'>
  /** The Node as it is; undefined when there is none. */
  readonly seen: (name: NodeName, raw: unknown) => void
  readonly clock?: Clock
  readonly random?: Random
}

/** Milliseconds before one that is asked for is looked at: thousands of agents hear of a new node at the same moment. */
const SOON = { least: 20, most: 300 }

/** Milliseconds before one is looked at again, whoever asks: an agent that says another thing of itself all the time costs no more than that. */
const AGAIN = { least: 1_000, most: 2_000 }

/** Milliseconds between two looks at Nodes that are looked at again and again. */
const ROUND = { least: 8_000, most: 12_000 }

interface Turn {
  readonly name: NodeName
  /** By the clock, milliseconds. */
  readonly at: number
}

/** Reads single Nodes, one at a time: those that are asked for, soon; and those that are kept an eye on, one every ten seconds or so. */
export class NodeLook {
  readonly #options: NodeLookOptions
  readonly #clock: Clock
  readonly #random: Random
  readonly #backoff: Backoff
  /** Those that are asked for, and from when on they may be looked at. */
  readonly #asked = new Map<NodeName, number>()
  readonly #round = new Set<NodeName>()
  #roundAt = 0
  /** When those were looked at that may not be looked at again yet. */
  readonly #lookedAt = new Map<NodeName, number>()
  readonly #stopping = new AbortController()
  #nap: AbortController | undefined
  #loop: Promise<void> | undefined

  constructor(options: NodeLookOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#backoff = new Backoff(this.#clock, this.#random)
  }

  ask(name: NodeName): void {
    if (this.#asked.has(name)) return
    const now = this.#clock.now()
    const before = this.#lookedAt.get(name)
    const again = before === undefined ? now : before + between(AGAIN.least, AGAIN.most, this.#random)
    this.#asked.set(name, Math.max(again, now + between(SOON.least, SOON.most, this.#random)))
    this.#begin()
  }

  /** From now on, now and then. */
  keepAnEyeOn(name: NodeName): void {
    if (this.#round.size === 0) this.#waitForTheRound()
    this.#round.add(name)
    this.#begin()
  }

  forget(name: NodeName): void {
    this.#asked.delete(name)
    this.#round.delete(name)
  }

  /** Nothing is looked at any more until somebody asks. */
  clear(): void {
    this.#asked.clear()
    this.#round.clear()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#nap?.abort()
    this.clear()
    await this.#loop
  }

  #begin(): void {
    if (this.#stopping.signal.aborted) return
    // Whoever sleeps may have to look sooner now.
    this.#nap?.abort()
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined
      // Somebody may have asked when it had just found nothing to do.
      if (this.#next()) this.#begin()
    })
  }

  async #run(): Promise<void> {
    for (let turn = this.#next(); turn; turn = this.#next()) {
      const wait = turn.at - this.#clock.now()
      if (wait > 0) await this.#sleep(wait)
      else await this.#look(turn.name)
    }
  }

  /** @returns undefined when there is nothing to look at any more */
  #next(): Turn | undefined {
    if (this.#stopping.signal.aborted) return undefined
    const [first] = this.#round
    let next: Turn | undefined = first === undefined ? undefined : { name: first, at: this.#roundAt }
    for (const [name, at] of this.#asked) if (!next || at < next.at) next = { name, at }
    return next
  }

  async #look(name: NodeName): Promise<void> {
    // Before the answer: who asks meanwhile knows of something newer.
    const isAsked = this.#asked.delete(name)
    this.#remember(name)
    try {
      const raw = await this.#get(name)
      this.#backoff.succeeded()
      if (!isAsked) this.#waitForTheRound()
      // Round and round: the next time it is another one's turn.
      if (this.#round.delete(name)) this.#round.add(name)
      if (!this.#stopping.signal.aborted) this.#options.seen(name, raw)
    } catch {
      if (isAsked) this.#asked.set(name, this.#clock.now())
      await sleep(this.#clock, this.#backoff.failed(), this.#stopping.signal)
    }
  }

  #remember(name: NodeName): void {
    const now = this.#clock.now()
    for (const [other, at] of this.#lookedAt) {
      if (at > now - AGAIN.most) break
      this.#lookedAt.delete(other)
    }
    this.#lookedAt.delete(name)
    this.#lookedAt.set(name, now)
  }

  #waitForTheRound(): void {
    this.#roundAt = this.#clock.now() + between(ROUND.least, ROUND.most, this.#random)
  }

  async #get(name: NodeName): Promise<unknown> {
    try {
      const { signal } = this.#stopping
      return await this.#options.client.get(`/api/v1/nodes/${encodeURIComponent(name)}`, { signal })
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined
      throw error
    }
  }

  async #sleep(ms: number): Promise<void> {
    const nap = new AbortController()
    this.#nap = nap
    await sleep(this.#clock, ms, nap.signal)
    this.#nap = undefined
  }
}
