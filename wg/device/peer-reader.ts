import { hash } from 'node:crypto'
import type { PublicKey } from '#keys/public-key.ts'
import { BYTES_AT_A_TIME } from '../slices.ts'
import type { PeerStatus } from './device.ts'
import { sharedPeer } from './shared-peer.ts'

export type Peers = ReadonlyMap<PublicKey, PeerStatus>

export const NO_PEERS: Peers = new Map()

/**
 * What of a peer a piece says, going on from what the pieces before it have said.
 * @param known peers as they are known otherwise
 */
export type ParsePeer<Piece> = (piece: Piece, before: Peers, known: Peers) => PeerStatus

/** One reading of all peers: pieces are taken in as they come; a peer may go on in a later one. */
export interface PeersReading<Piece> {
  take(piece: Piece): void
  end(): Peers
}

/**
 * Reads the peers of one device again and again. What an implementation says of a peer is taken apart only where it has not
 * said the same, to the byte, before: while one of thousands is changing, all of them are read again and again.
 */
export class PeerReader {
  /** What follows from a piece alone, by a digest of it; not all of it was said lately. */
  readonly #said = new Map<string, PeerStatus>()

  /** @param known peers as they are known otherwise: one that is as it was stays the same object */
  begin<Piece extends string | Uint8Array>(parse: ParsePeer<Piece>, known: Peers): PeersReading<Piece> {
    const peers = new Map<PublicKey, PeerStatus>()
    return {
      take: piece => {
        const peer = this.#read(piece, parse, peers, known)
        peers.set(peer.publicKey, peer)
      },
      end: () => {
        // A quarter more than is needed: what has been forgotten is read once more, and no more than that.
        if (this.#said.size > LEAST_KEPT + 1.25 * peers.size) this.#said.clear()
        return peers
      },
    }
  }

  /** The same of pieces that are there, in steps. */
  *read<Piece extends string | Uint8Array>(
    pieces: Iterable<Piece>,
    parse: ParsePeer<Piece>,
    known: Peers,
  ): Generator<undefined, Peers> {
    const reading = this.begin(parse, known)
    let bytes = 0
    for (const piece of pieces) {
      bytes += piece.length
      if (bytes >= BYTES_AT_A_TIME) {
        yield
        bytes = 0
      }
      reading.take(piece)
    }
    return reading.end()
  }

  #read<Piece extends string | Uint8Array>(
    piece: Piece,
    parse: ParsePeer<Piece>,
    before: Peers,
    known: Peers,
  ): PeerStatus {
    const digest = hash('sha256', piece, 'base64')
    const said = this.#said.get(digest)
    const goesOn = said !== undefined && before.has(said.publicKey)
    const now = said === undefined || goesOn ? parse(piece, before, known) : said
    const peer = sharedPeer(known.get(now.publicKey), now)
    if (!before.has(now.publicKey) && peer !== said) this.#said.set(digest, peer)
    return peer
  }
}

const LEAST_KEPT = 64
