import { closeSync, constants as fsConstants, openSync } from 'node:fs'
import { constants } from 'node:os'
import {
  AF_NETLINK,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_RAW,
  SOL_SOCKET,
} from '../native/constants.ts'
import { type Datagram, DatagramSocket, SocketError } from '../native/socket.ts'

export const NETLINK_ROUTE = 0
export const NETLINK_GENERIC = 16

/** Socket options of linux/netlink.h, at level SOL_NETLINK. */
const SOL_NETLINK = 270
const NETLINK_ADD_MEMBERSHIP = 1
const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11
const NETLINK_GET_STRICT_CHK = 12

/** struct sockaddr_nl: u16 family, u16 padding, u32 port, u32 groups. */
const SOCKADDR_NL = 12

/** A dump's datagrams are up to 32 KiB, where there is room for that; a route event is 100 bytes. */
const SLOT_SIZE = 64 * 1024
const SLOTS = 64

export interface NetlinkSocketListener {
  /** @param bytes whole messages; hold until the listener returns @param port 0 is the kernel */
  datagram(bytes: Uint8Array, port: number): void
  /** Something was lost: the receive buffer overran, or a datagram was longer than expected. */
  overrun(): void
}

/** What a connection and a monitor need of a socket: the kernel's, or one in memory for tests. */
export interface NetlinkSocket extends Disposable {
  /** @returns bytes sent, or a negative errno */
  send(bytes: Uint8Array): number
  /** Called once. */
  start(listener: NetlinkSocketListener): void
  ref(): void
  unref(): void
  close(): void
}

export interface NetlinkSocketOptions {
  /** Open descriptor of a network namespace; this process's own by default. */
  readonly netnsFd?: number | undefined
  /** Path of a network namespace, `/run/netns/name`, in place of netnsFd. */
  readonly netnsPath?: string | undefined
  /** Bytes, beyond net.core.rmem_max where CAP_NET_ADMIN allows that. */
  readonly receiveBuffer?: number
  /** Multicast groups to join. */
  readonly groups?: readonly number[]
}

/** Room for the answers to some thousand requests at once: the kernel counts about 840 bytes for the smallest. */
const REQUEST_BUFFER = 4 << 20

/**
 * Opens a netlink socket with strict checking, short acknowledgements and extended error reports.
 * @throws SocketError; NativeAddonError when there is no addon for this machine
 */
export function openNetlinkSocket(protocol: number, options: NetlinkSocketOptions = {}): NetlinkSocket {
  const { netnsPath, receiveBuffer = REQUEST_BUFFER, groups = [] } = options
  const opened = netnsPath === undefined ? undefined : openNamespace(netnsPath)
  try {
    const socket = new DatagramSocket({
      domain: AF_NETLINK,
      type: SOCK_RAW,
      protocol,
      netnsFd: opened ?? options.netnsFd,
      slots: SLOTS,
      slotSize: SLOT_SIZE,
    })
    try {
      setUp(socket, receiveBuffer, groups)
    } catch (error) {
      socket.close()
      throw error
    }
    return new KernelSocket(socket)
  } finally {
    if (opened !== undefined) closeSync(opened)
  }
}

function openNamespace(path: string): number {
  try {
    return openSync(path, fsConstants.O_RDONLY)
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).errno
    throw new SocketError(`open network namespace ${path}`, errno === undefined ? constants.errno.EINVAL : -errno)
  }
}

function setUp(socket: DatagramSocket, receiveBuffer: number, groups: readonly number[]): void {
  for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
    // Kernels before 4.20 lack the last: replies are filtered here as well, so only time is lost.
    tolerate(['ENOPROTOOPT'], () => socket.setOption(SOL_NETLINK, option, 1))
  }
  growBuffer(socket, SO_RCVBUFFORCE, SO_RCVBUF, receiveBuffer)
  growBuffer(socket, SO_SNDBUFFORCE, SO_SNDBUF, REQUEST_BUFFER)
  socket.bind(encodeNetlinkAddress())
  for (const group of groups) socket.setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
}

/** Without CAP_NET_ADMIN the buffer ends at net.core.*mem_max; reading is possible all the same. */
function growBuffer(socket: DatagramSocket, force: number, modest: number, bytes: number): void {
  if (!tolerate(['EPERM'], () => socket.setOption(SOL_SOCKET, force, bytes)))
    socket.setOption(SOL_SOCKET, modest, bytes)
}

function tolerate(names: readonly string[], call: () => void): boolean {
  try {
    call()
    return true
  } catch (error) {
    if (error instanceof SocketError && names.includes(error.errnoName)) return false
    throw error
  }
}

/** Port 0: the kernel chooses ours. */
function encodeNetlinkAddress(): Uint8Array {
  const address = new Uint8Array(SOCKADDR_NL)
  new DataView(address.buffer).setUint16(0, AF_NETLINK, true)
  return address
}

function portOf(address: Uint8Array): number | undefined {
  if (address.length < SOCKADDR_NL) return undefined
  return new DataView(address.buffer, address.byteOffset).getUint32(4, true)
}

class KernelSocket implements NetlinkSocket {
  readonly #socket: DatagramSocket

  constructor(socket: DatagramSocket) {
    this.#socket = socket
  }

  send(bytes: Uint8Array): number {
    return this.#socket.send(bytes)
  }

  start(listener: NetlinkSocketListener): void {
    const datagrams = (batch: readonly Datagram[]): void => {
      for (const datagram of batch) deliver(datagram, listener)
    }
    this.#socket.start({
      datagrams,
      // ENOBUFS, and whatever else a netlink socket may report: in each case something did not arrive. After an overrun the
      // kernel drops all that comes until the queue is empty, and does not report that again (netlink_overrun() in
      // net/netlink/af_netlink.c): only what is read after the queue was emptied is up to date.
      failed: () => {
        this.#socket.drain({ datagrams, failed: () => {} })
        listener.overrun()
      },
    })
  }

  ref(): void {
    this.#socket.ref()
  }

  unref(): void {
    this.#socket.unref()
  }

  close(): void {
    this.#socket.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

function deliver({ bytes, address, length }: Datagram, listener: NetlinkSocketListener): void {
  const port = portOf(address)
  if (port === undefined) return
  if (length > bytes.length) listener.overrun()
  else listener.datagram(bytes, port)
}
