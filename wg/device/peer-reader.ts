import { hash } from 'node:crypto'
import type { PublicKey } from '#keys/public-key.ts'
import { BYTES_AT_A_TIME } from '../slices.ts'
import type { PeerStatus } from './device.ts'
import { sharedPeer } from './shared-peer.ts'

export type Peers = ReadonlyMap<PublicKey, PeerStatus>

export const NO_PEERS: Peers = new Map()

/**
 * Reads the peers of one device again and again. What an implementation says of a peer is taken apart only where it has not
 * said the same, to the byte, before: while one of thousands is changing, all of them are read again and again.
 */
export class PeerReader {
  /** What follows from a piece alone, by a digest of it; not all of it was said lately. */
  readonly #said = new Map<string, PeerStatus>();

  /**
   * The peers, in steps.
   * @param pieces what is said of one peer each; a peer may go on in a later one
   * @param parse gives the peer that a piece is of, going on from what the pieces before it have said
   * @param known peers as they are known otherwise: one that is as it was stays the same object
   */
  *read<Piece extends string | Uint8Array>(
    pieces: Iterable<Piece>,
    parse: (piece: Piece, before: Peers, known: Peers) => PeerStatus,
    known: Peers,
  ): Generator<undefined, Peers> {
    const peers = new Map<PublicKey, PeerStatus>()
    let bytes = 0
    for (const piece of pieces) {
      bytes += piece.length
      if (bytes >= BYTES_AT_A_TIME) {
        yield
        bytes = 0
      }
      const digest = hash('sha256', piece, 'base64')
      const said = this.#said.get(digest)
      const goesOn = said !== undefined && peers.has(said.publicKey)
      const now = said === undefined || goesOn ? parse(piece, peers, known) : said
      const isAlone = !peers.has(now.publicKey)
      const peer = sharedPeer(known.get(now.publicKey), now)
      if (isAlone && peer !== said) this.#said.set(digest, peer)
      peers.set(now.publicKey, peer)
    }
    // A quarter more than is needed: what has been forgotten is read once more, and no more than that.
    if (this.#said.size > LEAST_KEPT + 1.25 * peers.size) this.#said.clear()
    return peers
  }
}

const LEAST_KEPT = 64
