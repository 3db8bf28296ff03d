import type { PublicKey } from '#keys/public-key.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import { Follower } from '#wg/table.ts'

/** The pairs of one device that are on their way from one state to another: while there are any, handshakes are looked at often. */
export class ChangingPairs {
  readonly #changing = new Map<NodeName, readonly PublicKey[]>()
  #keys: ReadonlySet<PublicKey> | undefined
  readonly #counted = new Follower<NodeName>()

  /** The peers whose handshakes, endpoints and counters such a pair waits for. */
  get keys(): ReadonlySet<PublicKey> {
    this.#keys ??= new Set([...this.#changing.values()].flat())
    return this.#keys
  }

  /** Looks at those that are other than the last time. */
  note(states: PeerStates): void {
    const changed = this.#counted.take(states)
    if (changed?.size !== 0) this.#keys = undefined
    if (!changed) this.#changing.clear()
    for (const node of changed ?? states.keys()) {
      const keys = awaited(states.get(node))
      if (keys.length > 0) this.#changing.set(node, keys)
      else this.#changing.delete(node)
    }
  }
}

function awaited(state: PeerState | undefined): PublicKey[] {
  switch (state?.phase) {
    case 'absent':
      return state.contested ? [state.contested.key] : []
    case 'accepting':
      return state.candidate === undefined ? [state.key] : [state.key, state.candidate]
    case 'lingering':
      return [state.key]
    case 'encrypting':
      return state.candidate === undefined ? [] : [state.key, state.candidate]
    case undefined:
      return []
  }
}
