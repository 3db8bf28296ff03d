import { hash } from 'node:crypto'
import type { PublicKey } from '#keys/public-key.ts'
import type { PeerStatus } from './device.ts'
import { sharedPeer } from './shared-peer.ts'

export type Peers = ReadonlyMap<PublicKey, PeerStatus>

export const NO_PEERS: Peers = new Map()

/**
 * Reads the peers of one device again and again. What an implementation says of a peer is taken apart only where it is not,
 * to the byte, what it said before: while one of thousands is changing, all of them are read again and again.
 */
export class PeerReader {
  #peers = NO_PEERS
  /** Whose it is, by a digest of what was said: of peers alone that came in one piece. */
  #whole: ReadonlyMap<string, PublicKey> = new Map();

  /**
   * The peers, with a step for each piece.
   * @param pieces what is said of one peer each; a peer may go on in a later one
   * @param parse gives the peer that a piece is of, going on from what the pieces before it have said; `last` are the peers of
   *   the last time
   * @param known peers as they are known otherwise: one that is as it was stays the same object
   */
  *read<Piece extends string | Uint8Array>(
    pieces: Iterable<Piece>,
    parse: (piece: Piece, before: Peers, last: Peers) => PeerStatus,
    known: Peers,
  ): Generator<undefined, Peers> {
    const peers = new Map<PublicKey, PeerStatus>()
    const whole = new Map<string, PublicKey>()
    const split = new Set<PublicKey>()
    for (const piece of pieces) {
      yield
      const digest = hash('sha256', piece, 'base64')
      const key = this.#whole.get(digest)
      const same = key === undefined || peers.has(key) ? undefined : this.#peers.get(key)
      const peer = same ?? parse(piece, peers, this.#peers)
      if (peers.has(peer.publicKey)) split.add(peer.publicKey)
      else whole.set(digest, peer.publicKey)
      peers.set(peer.publicKey, peer)
    }
    if (split.size > 0) for (const [digest, key] of whole) if (split.has(key)) whole.delete(digest)
    for (const [key, peer] of peers) peers.set(key, sharedPeer(known.get(key), peer))
    this.#peers = peers
    this.#whole = whole
    return peers
  }
}
