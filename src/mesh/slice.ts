/** How many nodes a part of a plan may still look at. */
export class Slice {
  #left: number

  constructor(most: number) {
    this.#left = most
  }

  /** Takes out as many as there is room for. */
  take<Item>(from: Set<Item>): readonly Item[] {
    const taken = from.size <= this.#left ? [...from] : from.values().take(this.#left).toArray()
    this.#left -= taken.length
    if (taken.length === from.size) from.clear()
    else for (const item of taken) from.delete(item)
    return taken
  }
}
