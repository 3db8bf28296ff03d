import { readAttributes } from './attributes.ts'
import { type ExtendedAck, NetlinkFormatError } from './errors.ts'
import {
  MESSAGE_HEADER,
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_DONE,
} from './message.ts'

/** enum nlmsgerr_attrs of linux/netlink.h. */
const NLMSGERR_ATTR_MSG = 1
const NLMSGERR_ATTR_OFFS = 2
const NLMSGERR_ATTR_MISS_TYPE = 5

const TYPE_MASK = 0x3fff

export interface Outcome {
  /** 0 is success. */
  readonly errno: number
  readonly extack: ExtendedAck
}

/**
 * Reads how a request ended, out of NLMSG_ERROR (struct nlmsgerr, errno 0 being the acknowledgement) or NLMSG_DONE, where
 * the error of a dump is.
 * @param request what it answers: the kernel names the attribute that it refused by its place in there
 * @throws NetlinkFormatError
 */
export function parseOutcome(message: NetlinkMessage, request: NetlinkRequest): Outcome {
  const { payload, flags, type } = message
  // Some families end a dump with a bare header.
  if (type === NLMSG_DONE && payload.length < 4) return { errno: 0, extack: {} }
  if (payload.length < 4) throw new NetlinkFormatError(`error message of ${payload.length} bytes`)
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length)
  const errno = 0 - view.getInt32(0, true)
  if (errno < 0) throw new NetlinkFormatError(`error message with a positive error: ${-errno}`)
  if (!(flags & NLM_F_ACK_TLVS)) return { errno, extack: {} }

  let start = 4
  if (type !== NLMSG_DONE) {
    if (payload.length < 4 + MESSAGE_HEADER) throw new NetlinkFormatError(`error message of ${payload.length} bytes`)
    // The request comes back whole, or capped to its header.
    start += flags & NLM_F_CAPPED ? MESSAGE_HEADER : (view.getUint32(4, true) + 3) & ~3
  }
  return { errno, extack: parseExtendedAck(payload.subarray(start), request) }
}

function parseExtendedAck(attributes: Uint8Array, request: NetlinkRequest): ExtendedAck {
  const extack: { message?: string; attribute?: number; missing?: number } = {}
  for (const attribute of readAttributes(attributes)) {
    if (attribute.type === NLMSGERR_ATTR_MSG) extack.message = attribute.string()
    else if (attribute.type === NLMSGERR_ATTR_MISS_TYPE) extack.missing = attribute.u32()
    else if (attribute.type === NLMSGERR_ATTR_OFFS) {
      const refused = attributeTypeAt(request.payload, attribute.u32() - MESSAGE_HEADER)
      if (refused !== undefined) extack.attribute = refused
    }
  }
  return extack
}

function attributeTypeAt(payload: Uint8Array, offset: number): number | undefined {
  const low = payload[offset + 2]
  const high = payload[offset + 3]
  return low === undefined || high === undefined ? undefined : (low | (high << 8)) & TYPE_MASK
}
