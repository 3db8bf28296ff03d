import type { Digest, HelloContent } from '#src/mesh/hello-content.ts'

/**
 * A hello on the wire: one UDP datagram between the device addresses of two nodes, inside the tunnel, which authenticates
 * it. Integers in network order.
 *
 *      0  magic 'P' 'V' 'H', version 1
 *      4  flags: 1 steers, 2 accepts, 4 wants an answer, 8 parked; three bytes of zero
 *      8  session of the sender: random, new with each conversation
 *     16  revision: grows with each change of what the sender says in this session
 *     20  the revision of the receiver that the sender has heard last, 0 for none
 *     24  the session of the receiver that it belongs to
 *     32  digest of the addresses that the sender accepts from the receiver, zero without flag 2
 *     48  whatever a later version adds
 */
export interface HelloMessage {
  readonly session: bigint
  readonly revision: number
  readonly heardSession: bigint
  readonly heardRevision: number
  /** The sender has not heard yet that the receiver knows this revision. */
  readonly wantsAnswer: boolean
  readonly content: HelloContent
}

/** UDP port of the hello, inside the tunnel only. */
export const HELLO_PORT = 9182

const LENGTH = 48
const MAGIC = 0x50564800
const STEERS = 1
const ACCEPTS = 2
const WANTS_ANSWER = 4
const PARKED = 8

export function encodeHello(message: HelloMessage): Uint8Array {
  const { session, revision, heardSession, heardRevision, wantsAnswer, content } = message
  const bytes = new Uint8Array(LENGTH)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC | 1)
  const flags =
    (content.steers ? STEERS : 0) |
    (content.accepts === undefined ? 0 : ACCEPTS) |
    (wantsAnswer ? WANTS_ANSWER : 0) |
    (content.parked ? PARKED : 0)
  view.setUint8(4, flags)
  view.setBigUint64(8, session)
  view.setUint32(16, revision)
  view.setUint32(20, heardRevision)
  view.setBigUint64(24, heardSession)
  if (content.accepts !== undefined) bytes.set(Buffer.from(content.accepts, 'hex'), 32)
  return bytes
}

/** @returns undefined for anything that is not a hello: whoever sent it gets no other answer */
export function decodeHello(bytes: Uint8Array): HelloMessage | undefined {
  if (bytes.length < LENGTH) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const head = view.getUint32(0)
  // A later version keeps this layout and appends to it.
  if ((head & 0xffffff00) >>> 0 !== MAGIC || (head & 0xff) === 0) return undefined
  const flags = view.getUint8(4)
  const accepts: Digest | undefined =
    flags & ACCEPTS ? Buffer.from(bytes.subarray(32, LENGTH)).toString('hex') : undefined
  return {
    session: view.getBigUint64(8),
    revision: view.getUint32(16),
    heardRevision: view.getUint32(20),
    heardSession: view.getBigUint64(24),
    wantsAnswer: (flags & WANTS_ANSWER) !== 0,
    content: { accepts, steers: (flags & STEERS) !== 0, parked: (flags & PARKED) !== 0 },
  }
}
