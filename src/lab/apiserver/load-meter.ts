/** What one user has asked of one kind of path since the meter was last reset. Bytes are of bodies, as sent (compressed). */
export interface Load {
  readonly user: string
  readonly verb: string
  /** Path with placeholders for names: /api/v1/nodes/{name}. */
  readonly path: string
  requests: number
  bytesIn: number
  bytesOut: number
  /** Watch events sent, bookmarks not counted. */
  events: number
}

/** Counts requests and bytes by user, verb and path: the measure of what a client costs the API server. */
export class LoadMeter {
  readonly #loads = new Map<string, Load>()

  /** The counter of that user, verb and path, to be added to. */
  counter(user: string, verb: string, path: string): Load {
    const key = JSON.stringify([user, verb, path])
    const known = this.#loads.get(key)
    if (known !== undefined) return known
    const made: Load = { user, verb, path, requests: 0, bytesIn: 0, bytesOut: 0, events: 0 }
    this.#loads.set(key, made)
    return made
  }

  get loads(): readonly Readonly<Load>[] {
    return [...this.#loads.values()].filter(load => load.requests > 0 || load.bytesOut > 0).map(load => ({ ...load }))
  }

  /** Sets every count to nothing; open watches go on counting from there. */
  reset(): void {
    for (const load of this.#loads.values()) Object.assign(load, { requests: 0, bytesIn: 0, bytesOut: 0, events: 0 })
  }
}
