import { addressFromBytes, type IpAddress } from '#wg/ip.ts'

/** A WireGuard transport message as it crosses the underlay. */
export interface Ciphertext {
  readonly from: IpAddress
  readonly to: IpAddress
  /** Bytes of the UDP payload. */
  readonly length: number
}

const UDP = 17
const ICMP = { 4: 1, 6: 58 } as const
const UDP_HEADER = 8
/** Message type 4 and three bytes of zero (WireGuard, section 5.4.6). */
const TRANSPORT_MESSAGE = 0x04000000

/**
 * Reads a captured packet, from its IP header on; its end may be cut off.
 * @returns undefined for what is no WireGuard transport message in plain IP and UDP
 */
export function readCiphertext(packet: Buffer): Ciphertext | undefined {
  const version = (packet[0] ?? 0) >> 4
  if (version === 4 && packet.length >= 20) {
    const isFragment = (packet.readUInt16BE(6) & 0x3fff) !== 0
    if (packet[9] !== UDP || isFragment) return undefined
    return transportMessage(
      packet.subarray(((packet[0] ?? 0) & 15) * 4),
      packet.subarray(12, 16),
      packet.subarray(16, 20),
    )
  }
  // WireGuard's own packets carry no extension headers.
  if (version === 6 && packet.length >= 40 && packet[6] === UDP)
    return transportMessage(packet.subarray(40), packet.subarray(8, 24), packet.subarray(24, 40))
  return undefined
}

/** An answer such as `port unreachable`, which quotes what it answers: it goes the other way. */
export function isAnswer(packet: Buffer): boolean {
  const version = (packet[0] ?? 0) >> 4
  return version === 4 ? packet[9] === ICMP[4] : version === 6 && packet[6] === ICMP[6]
}

function transportMessage(udp: Buffer, from: Buffer, to: Buffer): Ciphertext | undefined {
  if (udp.length < UDP_HEADER + 4 || udp.readUInt32BE(UDP_HEADER) !== TRANSPORT_MESSAGE) return undefined
  const length = udp.readUInt16BE(4) - UDP_HEADER
  return { from: addressFromBytes(from), to: addressFromBytes(to), length }
}
