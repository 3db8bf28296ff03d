import type { PublicKey } from '#keys/public-key.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import type { IpAddress } from '#wg/ip.ts'
import { Follower } from '#wg/table.ts'
import type { NodeName, NodeRecord } from './node-record.ts'
import type { PeerStates } from './peer-machine.ts'
import { SESSION } from './whereabouts.ts'

/**
 * Addresses that Nodes have published until a short while ago. WireGuard goes on sending to where it last heard from, and a
 * node that still has its old address answers from there: that is no gateway, and will soon be nobody's, or another node's.
 */
export class LeftAddresses {
  readonly #published = new Map<NodeName, readonly IpAddress[]>()
  readonly #left = new Map<NodeName, Map<IpAddress, number>>()
  readonly #followed = new Follower<NodeName>()

  /** When each node gave each up, in Unix milliseconds, for as long as a session lives. Live. */
  get all(): ReadonlyMap<NodeName, ReadonlyMap<IpAddress, number>> {
    return this.#left
  }

  /** @param wallTime Unix milliseconds */
  note(nodes: ReadonlyMap<NodeName, Pick<NodeRecord, 'addresses'>>, wallTime: number): void {
    for (const name of this.#followed.take(nodes) ?? new Set([...this.#published.keys(), ...nodes.keys()])) {
      const before = this.#published.get(name)
      const addresses = nodes.get(name)?.addresses
      if (before === addresses) continue
      if (addresses) this.#published.set(name, addresses)
      else this.#published.delete(name)
      const left = this.#left.get(name) ?? new Map<IpAddress, number>()
      for (const address of before ?? []) left.set(address, wallTime)
      for (const address of addresses ?? []) left.delete(address)
      this.#left.set(name, left)
    }
    for (const [name, left] of this.#left) {
      for (const [address, since] of left) if (Math.abs(wallTime - since) > SESSION) left.delete(address)
      if (left.size === 0) this.#left.delete(name)
    }
  }

  /** Peers that are sent to an address which their Node has left. @param peers of the device that the states are about */
  *sentTo(states: PeerStates, peers: ReadonlyMap<PublicKey, Pick<PeerStatus, 'endpoint'>>): Generator<PublicKey> {
    for (const [node, addresses] of this.#left) {
      const state = states.get(node)
      if (!state || state.phase === 'absent') continue
      const endpoint = peers.get(state.key)?.endpoint
      if (endpoint && addresses.has(endpoint.address)) yield state.key
    }
  }
}
