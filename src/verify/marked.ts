import type { Family } from '#wg/ip.ts'

/**
 * A datagram that is known again wherever it shows up: in clear by its token, encrypted by its size, which is drawn anew
 * for each run so that little else has it.
 */
export interface Mark {
  /** 32 hexadecimal digits, of one run and one direction. */
  readonly token: string
  readonly family: Family
  /** Bytes of the IP packet, a multiple of 16, so that WireGuard pads nothing. */
  readonly packetLength: number
}

/** Packets are of 320 to 944 bytes: more than an acknowledgement, less than what fills a frame. */
const SHORTEST = 20
const SIZES = 40
const BLOCK = 16

/** @param random 0 up to 1 */
export const packetLengthOf = (random: number): number => (SHORTEST + Math.floor(random * SIZES)) * BLOCK

/** Bytes of IP and UDP headers. */
const HEADERS = { 4: 28, 6: 48 } as const

/** Type, receiver, counter (16 bytes) before, and the authentication tag (16) behind (WireGuard, section 5.4.6). */
const TRANSPORT_OVERHEAD = 32

/** Bytes of the UDP payload that carries such a packet. */
export const ciphertextLength = ({ packetLength }: Pick<Mark, 'packetLength'>): number =>
  packetLength + TRANSPORT_OVERHEAD

/** What is looked for in frames. */
export const readableText = (token: string): string => `PODVEIL VERIFY ${token}`

/** The UDP payload of one of them. */
export function markedPayload({ token, family, packetLength }: Mark, sequence: number): Uint8Array {
  const payload = Buffer.alloc(packetLength - HEADERS[family], '.')
  payload.write(`${readableText(token)} ${sequence} `, 'latin1')
  return payload
}
