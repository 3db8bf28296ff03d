/** Bytes from the kernel or a file that are not a well-formed message. */
export class NetlinkFormatError extends Error {
  override readonly name = 'NetlinkFormatError'
  readonly code = 'ERR_NETLINK_FORMAT'
}
