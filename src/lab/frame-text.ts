import { addressFromBytes } from '#wg/ip.ts'

const ETHERNET_HEADER = 14
const IPV4 = 0x0800
const IPV6 = 0x86dd

/** Source, destination and the readable start of the payload of a captured UDP frame, in one line for a person. */
export function frameText(frame: Buffer): string {
  if (frame.length < ETHERNET_HEADER + 20) return `${frame.length} bytes`
  const type = frame.readUInt16BE(12)
  const ip = frame.subarray(ETHERNET_HEADER)
  if (type === IPV4) return packetText(ip.subarray(12, 16), ip.subarray(16, 20), ip.subarray(((ip[0] ?? 0) & 15) * 4))
  if (type === IPV6 && ip.length >= 40) return packetText(ip.subarray(8, 24), ip.subarray(24, 40), ip.subarray(40))
  return `ethertype 0x${type.toString(16)}, ${frame.length} bytes`
}

const UDP_HEADER = 8

const packetText = (source: Buffer, destination: Buffer, udp: Buffer): string =>
  `${addressFromBytes(source)} → ${addressFromBytes(destination)}  "${readable(udp.subarray(UDP_HEADER))}"`

const readable = (payload: Buffer): string =>
  payload
    .subarray(0, 32)
    .toString('latin1')
    .replaceAll(/[^ -~]/g, '.')
