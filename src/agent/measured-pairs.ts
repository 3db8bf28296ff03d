import type { Lane, NodeName } from '#src/mesh/node-record.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { AT_A_TIME, inSlices } from '#wg/slices.ts'
import { Follower } from '#wg/table.ts'
import type { HelloExchange } from './hello-exchange.ts'
import type { PathMtus } from './path-mtus.ts'

/** Milliseconds within which not all pairs are looked at twice. */
const GAP = 5_000

/** The device that a pair's traffic is on, and what that has of it. */
type OnDevice = (
  node: NodeName,
  state: PeerState,
) => {
  readonly lane: Lane
  readonly peer: PeerStatus | undefined
}

/** The pairs of one family that echoes measure: those that encrypt, on the device that their traffic goes by. */
export class MeasuredPairs {
  readonly #hellos: Readonly<Record<Lane, HelloExchange>>
  readonly #paths: PathMtus
  readonly #followed = new Follower<NodeName>()
  /** Not before that are all of them looked at again, milliseconds. */
  #allAt = 0

  constructor(hellos: Readonly<Record<Lane, HelloExchange>>, paths: PathMtus) {
    this.#hellos = hellos
    this.#paths = paths
  }

  /**
   * Looks at pairs that have changed, and at all of them where the devices were read, but no more often than they are read at rest.
   * @param wasRead the devices, in this pass
   */
  async look(pairs: PeerStates, onDevice: OnDevice, wasRead: boolean, now: number): Promise<void> {
    const changed = this.#followed.take(pairs)
    const all = changed === undefined || (wasRead && now >= this.#allAt)
    if (all) this.#allAt = now + GAP
    await inSlices(this.#lookAtEach(all ? pairs.keys() : changed, pairs, onDevice, now))
  }

  *#lookAtEach(
    nodes: Iterable<NodeName>,
    pairs: PeerStates,
    onDevice: OnDevice,
    now: number,
  ): Generator<undefined, void> {
    let looked = 0
    for (const node of nodes) {
      if (++looked % AT_A_TIME === 0) yield
      const state = pairs.get(node)
      if (state === undefined || state.phase === 'absent') this.#leave(node, now)
      else this.#measure(node, state, onDevice(node, state), now)
    }
  }

  #leave(node: NodeName, now: number): void {
    for (const hellos of Object.values(this.#hellos)) hellos.measure(node, undefined, now)
    this.#paths.leave(node)
  }

  #measure(node: NodeName, { phase }: PeerState, { lane, peer }: ReturnType<OnDevice>, now: number): void {
    const other: Lane = lane === 'main' ? 'spare' : 'main'
    const traffic = { bytes: peer && peer.rxBytes + peer.txBytes }
    this.#hellos[lane].measure(node, phase === 'encrypting' ? traffic : undefined, now)
    this.#hellos[other].measure(node, undefined, now)
    this.#paths.keep(node, peer?.endpoint?.address, now)
  }
}
