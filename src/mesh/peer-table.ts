import type { PublicKey } from '#keys/public-key.ts'
import { type Few, few, NONE, withOne, withoutOne } from '#wg/few.ts'
import type { DesiredPeer } from '#wg/reconcile/desired.ts'
import { Table } from '#wg/table.ts'
import type { NodeName } from './node-record.ts'

/** A peer that a device must have for one node. */
export interface PlannedPeer {
  readonly key: PublicKey
  /** What the node has it for: its tunnel goes by it, or did; its tunnel is to go by it; or it has to show whose key it is. */
  readonly use: 'tunnel' | 'lingering' | 'candidate' | 'contested'
  readonly peer: DesiredPeer
}

/**
 * The peers of one device. Several nodes may have one for the same key, while nothing tells yet whose it is: the device has
 * that of the one who needs it most, whichever was planned last.
 */
export class PeerTable {
  readonly peers = new Table<PublicKey, DesiredPeer>()
  readonly #planned = new Map<NodeName, readonly PlannedPeer[]>()
  readonly #nodes = new Map<PublicKey, Few<NodeName>>()

  /** Takes in the peers of one node in place of what was planned for it before. */
  put(name: NodeName, planned: readonly PlannedPeer[]): void {
    const [before, now] = [this.#keysOf(name), few(planned.map(keyOf))]
    if (planned.length > 0) this.#planned.set(name, planned)
    else this.#planned.delete(name)
    for (const key of few([...before, ...now])) {
      const nodes = (now.includes(key) ? withOne : withoutOne)(this.#nodes.get(key) ?? NONE, name)
      if (nodes.length > 0) this.#nodes.set(key, nodes)
      else this.#nodes.delete(key)
      this.#settle(key, nodes)
    }
  }

  /** Nodes that have a peer here. */
  nodes(): Iterable<NodeName> {
    return this.#planned.keys()
  }

  #keysOf(name: NodeName): Few<PublicKey> {
    return few((this.#planned.get(name) ?? []).map(keyOf))
  }

  #settle(key: PublicKey, nodes: Few<NodeName>): void {
    const wanted = nodes
      .toSorted()
      .flatMap(name => this.#planned.get(name)?.filter(planned => planned.key === key) ?? [])
      .reduce<PlannedPeer | undefined>(
        (first, next) => (first && NEED[first.use] >= NEED[next.use] ? first : next),
        undefined,
      )
    if (wanted) this.peers.set(key, wanted.peer)
    else this.peers.delete(key)
  }
}

const NEED: Readonly<Record<PlannedPeer['use'], number>> = {
  tunnel: 3,
  lingering: 2,
  candidate: 1,
  contested: 0,
}

const keyOf = ({ key }: PlannedPeer): PublicKey => key
