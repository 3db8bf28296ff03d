import type { PublicKey } from '#keys/public-key.ts'
import type { LaneView } from '#src/mesh/family-view.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerStates } from '#src/mesh/peer-machine.ts'
import type { Cidr } from '#wg/ip.ts'
import { Follower } from '#wg/table.ts'

/** How far that has been looked at which one device's hellos follow from. */
export class Said {
  readonly #states = new Follower<NodeName>()
  readonly #peers = new Follower<PublicKey>()
  #steered: ReadonlySet<Cidr> | undefined

  /** @returns what changed since the last time, undefined for anything */
  take(states: PeerStates, { peers, steered }: LaneView['kernel']): Changes | undefined {
    const sameRoutes = this.#steered === steered
    this.#steered = steered
    const changes = { nodes: this.#states.take(states), keys: this.#peers.take(peers) }
    return sameRoutes && changes.nodes && changes.keys ? { nodes: changes.nodes, keys: changes.keys } : undefined
  }
}

interface Changes {
  readonly nodes: Iterable<NodeName>
  readonly keys: Iterable<PublicKey>
}
