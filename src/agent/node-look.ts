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

/** Milliseconds before the first of a burst is looked at: thousands of agents hear of a new node at the same moment. */
const SOON = { least: 20, most: 300 }

/** Milliseconds between two looks at Nodes that are looked at again and again. */
const ROUND = { least: 8_000, most: 12_000 }

/** Reads single Nodes: those that are asked for, soon; and those that are kept an eye on, one every ten seconds or so. */
export class NodeLook {
  readonly #options: NodeLookOptions
  readonly #clock: Clock
  readonly #random: Random
  readonly #backoff: Backoff
  readonly #soon = new Set<NodeName>()
  readonly #round = new Set<NodeName>()
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
    this.#soon.add(name)
    this.#nap?.abort()
    this.#begin()
  }

  /** From now on, now and then. */
  keepAnEyeOn(name: NodeName): void {
    this.#round.add(name)
    this.#begin()
  }

  forget(name: NodeName): void {
    this.#soon.delete(name)
    this.#round.delete(name)
  }

  /** Nothing is looked at any more until somebody asks. */
  clear(): void {
    this.#soon.clear()
    this.#round.clear()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#nap?.abort()
    this.clear()
    await this.#loop
  }

  get #isIdle(): boolean {
    return this.#soon.size + this.#round.size === 0
  }

  #begin(): void {
    if (this.#stopping.signal.aborted) return
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined
      if (!this.#isIdle) this.#begin()
    })
  }

  async #run(): Promise<void> {
    let burst = false
    while (!this.#stopping.signal.aborted && !this.#isIdle) {
      if (this.#soon.size > 0 && !burst) await this.#sleep(between(SOON.least, SOON.most, this.#random), this.#stopping)
      // Meanwhile all may have been forgotten.
      if (this.#isIdle) return
      burst = this.#soon.size > 0
      if (!burst) {
        this.#nap = new AbortController()
        await this.#sleep(between(ROUND.least, ROUND.most, this.#random), this.#nap)
        this.#nap = undefined
      }
      const wait = await this.#next()
      if (wait > 0) await this.#sleep(wait, this.#stopping)
    }
  }

  /** @returns milliseconds to wait after a failure */
  async #next(): Promise<number> {
    const [name] = this.#soon.size > 0 ? this.#soon : this.#round
    if (name === undefined) return 0
    // Before the answer: who asks meanwhile knows of something newer.
    const asked = this.#soon.delete(name)
    try {
      const raw = await this.#get(name)
      this.#backoff.succeeded()
      // Round and round: the next time it is another one's turn.
      if (this.#round.delete(name)) this.#round.add(name)
      if (!this.#stopping.signal.aborted) this.#options.seen(name, raw)
      return 0
    } catch {
      if (asked) this.#soon.add(name)
      return this.#backoff.failed()
    }
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

  #sleep(ms: number, { signal }: AbortController): Promise<void> {
    return sleep(this.#clock, ms, signal)
  }
}
