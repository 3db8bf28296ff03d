import type { NodeEvent } from '#src/cluster/node-events.ts'
import type { GuardMode } from '#src/mesh/guard.ts'
import { readCounters } from '#wg/nftables/nft.ts'
import { TABLE } from '#wg/nftables/ruleset.ts'

/** Milliseconds between two looks at the counters: each runs nft. */
const PERIOD = 30_000

/** What each counter counts, in words. `in_unarmed` only counts. */
const MEANINGS: Readonly<Record<string, string>> = {
  out_to_pod: 'to pods on other nodes',
  out_to_node: 'from pods to other nodes',
  out_to_gone: 'to pods of this node that are gone, or behind a gateway that is not in podSupernets',
  in_from_pod: 'from pods on other nodes',
  in_from_node: 'from other nodes to pods',
  in_strange_endpoint: 'WireGuard packets from addresses that no node publishes',
}

export type Counters = ReadonlyMap<string, number>

/** What to tell of counters that have grown between two looks, while the guard drops. */
export function guardEvent(before: Counters, after: Counters): NodeEvent | undefined {
  // The table may have been made anew in between: then it counts from nothing.
  const grown = Object.keys(MEANINGS).filter(name => (after.get(name) ?? 0) > (before.get(name) ?? 0))
  if (grown.length === 0) return undefined
  const what = grown.map(name => MEANINGS[name]).join('; ')
  const message = `the guard drops what would go in clear: ${what}. \`podveil explain FROM TO\` says which way such packets take; nft list counters table inet ${TABLE}`
  return { type: 'Warning', reason: 'GuardDropping', message }
}

/** Looks now and then at what a guard on `enforce` has dropped. */
export class GuardWatch {
  readonly #emit: (event: NodeEvent) => void
  #before: Counters | undefined
  #nextAt = Number.NEGATIVE_INFINITY

  constructor(emit: (event: NodeEvent) => void) {
    this.#emit = emit
  }

  /** @param now milliseconds of the agent's clock */
  async look(mode: GuardMode, now: number): Promise<void> {
    if (now < this.#nextAt) return
    this.#nextAt = now + PERIOD
    if (mode !== 'enforce') {
      this.#before = undefined
      return
    }
    try {
      const after = await readCounters(TABLE)
      const event = this.#before && guardEvent(this.#before, after)
      this.#before = after
      if (event) this.#emit(event)
    } catch {
      // Without nft there is no guard, which the packet filter's own complaint says.
      this.#before = undefined
    }
  }
}
