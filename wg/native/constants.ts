/** Numbers of sys/socket.h and asm-generic/socket.h, the same on x64 and arm64. */

export const AF_INET = 2
export const AF_INET6 = 10
export const AF_NETLINK = 16
export const AF_PACKET = 17

export const SOCK_DGRAM = 2
export const SOCK_RAW = 3

export const SOL_SOCKET = 1
export const SO_REUSEADDR = 2
export const SO_SNDBUF = 7
export const SO_RCVBUF = 8
/** A device's name; what the socket sends and receives goes through that device alone. */
export const SO_BINDTODEVICE = 25
export const SO_SNDBUFFORCE = 32
export const SO_RCVBUFFORCE = 33
export const SO_MARK = 36

/** Of linux/in.h and linux/in6.h: whether what a socket sends may be fragmented on this host or on its way. */
export const IP_MTU_DISCOVER = 10
export const IPV6_MTU_DISCOVER = 23
/** Never, and whatever path MTU was heard of is not heeded: what the device cannot take is refused. */
export const PMTUDISC_PROBE = 3

/** Options of netinet/in.h that let a socket send from an address that is not this host's. */
export const SOL_IP = 0
export const IP_TRANSPARENT = 19
export const SOL_IPV6 = 41
export const IPV6_TRANSPARENT = 75
