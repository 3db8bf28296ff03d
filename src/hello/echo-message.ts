import type { Family } from '#wg/ip.ts'

/**
 * An echo on the wire: one UDP datagram from hello port to hello port, inside the tunnel, which authenticates it. Not part
 * of a hello, so that nothing that decides where traffic goes can depend on it. An agent that does not know it drops it.
 *
 *      0  magic 'P' 'V' 'E', version 1
 *      4  1 asks, 2 answers; three bytes of zero
 *      8  token: random, of the one who asks; an answer repeats it
 *     16  whatever a later version adds; of one that asks how large a packet may be, zeros up to the size that is asked about
 *
 * The answer is never padded: it tells of the way there alone.
 */
export interface Echo {
  readonly kind: 'ask' | 'answer'
  readonly token: bigint
}

/** Bytes of an echo that is not padded. */
export const ECHO_LENGTH = 16

const MAGIC = 0x50564500
const ASK = 1
const ANSWER = 2

/** @param length of the datagram's payload in bytes, at least that of an echo */
export function encodeEcho({ kind, token }: Echo, length = ECHO_LENGTH): Uint8Array {
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC | 1)
  view.setUint8(4, kind === 'ask' ? ASK : ANSWER)
  view.setBigUint64(8, token)
  return bytes
}

/** @returns undefined for anything that is not an echo */
export function decodeEcho(bytes: Uint8Array): Echo | undefined {
  if (bytes.length < ECHO_LENGTH) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const head = view.getUint32(0)
  // A later version keeps this layout and appends to it.
  if ((head & 0xffffff00) >>> 0 !== MAGIC || (head & 0xff) === 0) return undefined
  const kind = view.getUint8(4)
  if (kind !== ASK && kind !== ANSWER) return undefined
  return { kind: kind === ASK ? 'ask' : 'answer', token: view.getBigUint64(8) }
}

/** Bytes of IP and UDP headers. */
const HEADERS = { 4: 28, 6: 48 } as const

/** @param packet size of the IP packet, bytes @returns length of the payload that makes one of this size */
export const echoLength = (family: Family, packet: number): number => packet - HEADERS[family]

/**
 * What one echo adds to the byte counter of a WireGuard peer: the packet, padded to 16 bytes, and 32 of WireGuard's own.
 * @param length of the payload, bytes
 */
export const echoBytes = (family: Family, length = ECHO_LENGTH): number =>
  Math.ceil((length + HEADERS[family]) / 16) * 16 + 32
