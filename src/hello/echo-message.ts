/**
 * An echo on the wire: one UDP datagram from hello port to hello port, inside the tunnel, which authenticates it. Not part
 * of a hello, so that nothing that decides where traffic goes can depend on it. An agent that does not know it drops it.
 *
 *      0  magic 'P' 'V' 'E', version 1
 *      4  1 asks, 2 answers; three bytes of zero
 *      8  token: random, of the one who asks; an answer repeats it
 *     16  whatever a later version adds
 */
export interface Echo {
  readonly kind: 'ask' | 'answer'
  readonly token: bigint
}

const LENGTH = 16
const MAGIC = 0x50564500
const ASK = 1
const ANSWER = 2

export function encodeEcho({ kind, token }: Echo): Uint8Array {
  const bytes = new Uint8Array(LENGTH)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC | 1)
  view.setUint8(4, kind === 'ask' ? ASK : ANSWER)
  view.setBigUint64(8, token)
  return bytes
}

/** @returns undefined for anything that is not an echo */
export function decodeEcho(bytes: Uint8Array): Echo | undefined {
  if (bytes.length < LENGTH) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const head = view.getUint32(0)
  // A later version keeps this layout and appends to it.
  if ((head & 0xffffff00) >>> 0 !== MAGIC || (head & 0xff) === 0) return undefined
  const kind = view.getUint8(4)
  if (kind !== ASK && kind !== ANSWER) return undefined
  return { kind: kind === ASK ? 'ask' : 'answer', token: view.getBigUint64(8) }
}

/**
 * What one echo adds to the byte counter of a WireGuard peer: IP and UDP headers, padded to 16 bytes, 32 more of
 * WireGuard's own.
 */
export const ECHO_BYTES = { 4: 48 + 32, 6: 64 + 32 } as const
