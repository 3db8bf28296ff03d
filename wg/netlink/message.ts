import { NetlinkFormatError } from './errors.ts'

/** struct nlmsghdr of linux/netlink.h: u32 length, u16 type, u16 flags, u32 sequence, u32 port. */
export const MESSAGE_HEADER = 16

export const NLM_F_REQUEST = 0x1
export const NLM_F_MULTI = 0x2
export const NLM_F_ACK = 0x4
export const NLM_F_DUMP_INTR = 0x10
export const NLM_F_DUMP = 0x300
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
export const NLM_F_APPEND = 0x800
/** In an error or an acknowledgement: the request's payload was left out (NETLINK_CAP_ACK). */
export const NLM_F_CAPPED = 0x100
/** In an error or an acknowledgement: attributes follow (NETLINK_EXT_ACK). */
export const NLM_F_ACK_TLVS = 0x200

export const NLMSG_NOOP = 1
export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3
export const NLMSG_OVERRUN = 4

export interface NetlinkMessage {
  readonly type: number
  readonly flags: number
  readonly sequence: number
  /** Port of the sender as the message says; 0 is the kernel. */
  readonly port: number
  /** A view of the datagram, not a copy. */
  readonly payload: Uint8Array
}

/** A request before it has a sequence number: what a codec produces and a connection sends. */
export interface NetlinkRequest {
  readonly type: number
  /** NLM_F_CREATE and the like; the connection adds NLM_F_REQUEST and NLM_F_ACK. */
  readonly flags: number
  readonly payload: Uint8Array
}

export function encodeMessage(request: NetlinkRequest, sequence: number): Uint8Array {
  const length = MESSAGE_HEADER + request.payload.length
  const bytes = new Uint8Array((length + 3) & ~3)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, length, true)
  view.setUint16(4, request.type, true)
  view.setUint16(6, request.flags, true)
  view.setUint32(8, sequence, true)
  bytes.set(request.payload, MESSAGE_HEADER)
  return bytes
}

/**
 * Splits a datagram into its messages.
 * @throws NetlinkFormatError when a length is below the header's or reaches past the end
 */
export function decodeMessages(datagram: Uint8Array): NetlinkMessage[] {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.length)
  const messages: NetlinkMessage[] = []
  let at = 0
  while (datagram.length - at >= MESSAGE_HEADER) {
    const length = view.getUint32(at, true)
    if (length < MESSAGE_HEADER || length > datagram.length - at)
      throw new NetlinkFormatError(`message at ${at} claims ${length} of ${datagram.length - at} bytes`)
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      port: view.getUint32(at + 12, true),
      payload: datagram.subarray(at + MESSAGE_HEADER, at + length),
    })
    at += (length + 3) & ~3
  }
  if (at < datagram.length) throw new NetlinkFormatError(`${datagram.length - at} stray bytes after the last message`)
  return messages
}
