import { constants } from 'node:os'
import { errnoName, errnoText } from '../native/errno.ts'

/** Bytes from the kernel or a file that are not a well-formed message. */
export class NetlinkFormatError extends Error {
  override readonly name = 'NetlinkFormatError'
  readonly code = 'ERR_NETLINK_FORMAT'
}

/** What the kernel adds to an error (NETLINK_EXT_ACK, enum nlmsgerr_attrs of linux/netlink.h). */
export interface ExtendedAck {
  /** The kernel's own words. */
  readonly message?: string
  /** Type of the attribute of our request that was refused. */
  readonly attribute?: number
  /** Type of an attribute that the request should have had. */
  readonly missing?: number
}

const { EPERM, ESRCH, ENOBUFS, EINTR, EAGAIN, EBUSY, ETIMEDOUT, EOPNOTSUPP } = constants.errno

const HINTS: ReadonlyMap<number, string> = new Map([
  [EPERM, 'needs CAP_NET_ADMIN in this network namespace'],
  // The kernel's word for a route that is not there, of which libc says "no such process".
  [ESRCH, 'there is no such object'],
  [ENOBUFS, 'answers were lost because the receive buffer overran: read the state anew and try again'],
  [EINTR, 'what was read kept changing: try again'],
  [ETIMEDOUT, 'the kernel did not answer in time: the outcome is unknown, read the state anew'],
  [EOPNOTSUPP, 'this kernel lacks the feature, or its module is not loaded'],
])

/** After these the same request may succeed as it is. Its outcome is unknown: what it asks for must bear repeating. */
const RETRIABLE: ReadonlySet<number> = new Set([ENOBUFS, EINTR, EAGAIN, EBUSY, ETIMEDOUT])

/** A request that the kernel refused, or did not answer. */
export class NetlinkError extends Error {
  override readonly name = 'NetlinkError'
  readonly code = 'ERR_NETLINK'
  /** What was tried, in words: `add address 10.0.0.1/32 to wireguard.cali`. */
  readonly operation: string
  /** Positive, as in errno.h. */
  readonly errno: number
  /** `ENODEV`. */
  readonly errnoName: string
  readonly extack: ExtendedAck

  constructor(operation: string, errno: number, extack: ExtendedAck = {}, options?: ErrorOptions) {
    const name = errnoName(errno)
    const details = [extack.message, HINTS.get(errno)].filter(text => text !== undefined)
    if (extack.attribute !== undefined) details.push(`attribute ${extack.attribute}`)
    if (extack.missing !== undefined) details.push(`attribute ${extack.missing} is missing`)
    super(`${operation}: ${name}: ${details.length > 0 ? details.join('; ') : errnoText(errno)}`, options)
    this.operation = operation
    this.errno = errno
    this.errnoName = name
    this.extack = extack
  }

  get retriable(): boolean {
    return RETRIABLE.has(this.errno)
  }
}

/** Whether this is the kernel's answer with that name: `isNetlinkError(error, 'ENODEV', 'ENOENT')`. */
export const isNetlinkError = (error: unknown, ...names: readonly string[]): error is NetlinkError =>
  error instanceof NetlinkError && names.includes(error.errnoName)
