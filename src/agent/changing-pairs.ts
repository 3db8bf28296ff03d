import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import { Follower } from '#wg/table.ts'

/** The pairs of one device that are on their way from one state to another: while there are any, handshakes are looked at often. */
export class ChangingPairs {
  readonly #changing = new Set<NodeName>()
  readonly #counted = new Follower<NodeName>()

  get size(): number {
    return this.#changing.size
  }

  /** Looks at those that are other than the last time. */
  note(states: PeerStates): void {
    const changed = this.#counted.take(states)
    if (!changed) this.#changing.clear()
    for (const node of changed ?? states.keys()) {
      if (isChanging(states.get(node))) this.#changing.add(node)
      else this.#changing.delete(node)
    }
  }
}

const isChanging = (state: PeerState | undefined): boolean =>
  (state?.phase === 'absent' && state.contested !== undefined) ||
  state?.phase === 'accepting' ||
  state?.phase === 'lingering' ||
  (state?.phase === 'encrypting' && state.candidate !== undefined)
