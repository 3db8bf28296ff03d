import { constants } from 'node:os'
import { type SocketAddon, type SocketHandle, socketAddon } from './addon.ts'
import { errnoName, errnoText } from './errno.ts'

/** A call on a socket that the system refused. */
export class SocketError extends Error {
  override readonly name = 'SocketError'
  readonly code = 'ERR_SOCKET'
  /** Positive, as in errno.h. */
  readonly errno: number
  /** `EPERM`. */
  readonly errnoName: string
  constructor(operation: string, errno: number) {
    const name = errnoName(errno)
    const hint = errno === constants.errno.EPERM ? ' (needs CAP_NET_ADMIN in this network namespace)' : ''
    super(`${operation}: ${name}: ${errnoText(errno)}${hint}`)
    this.errno = errno
    this.errnoName = name
  }
}

/** What arrived. The bytes are views of the socket's slab: they hold until the listener returns. */
export interface Datagram {
  readonly bytes: Uint8Array
  /** The sender's sockaddr. */
  readonly address: Uint8Array
  /** The datagram's own length; where it is more than `bytes` has, the rest is lost. */
  readonly length: number
}

export interface DatagramListener {
  /** One batch, in order of arrival. */
  datagrams(batch: readonly Datagram[]): void
  /** A pending error of the socket, ENOBUFS where the receive buffer overran. Receiving goes on. */
  failed(error: SocketError): void
}

export interface DatagramSocketOptions {
  /** AF_*. */
  readonly domain: number
  /** SOCK_*; the socket is always non-blocking and closed on exec. */
  readonly type: number
  readonly protocol?: number
  /** Open descriptor of the network namespace to make the socket in; this thread's own by default. */
  readonly netnsFd?: number | undefined
  /** Datagrams received at once, 1 to 128. */
  readonly slots?: number
  /** Bytes for one datagram; grows when a longer one was cut short. */
  readonly slotSize?: number
}

/** What one slot has beside the datagram, as in socket.c: two u32 lengths and a struct sockaddr_storage. */
const LENGTHS = 8
const ADDRESS = 128
const MAX_SLOTS = 128
/** Nothing that Podveil speaks sends datagrams near this. */
const MAX_SLOT_SIZE = 1 << 20

/**
 * A datagram socket of any address family on the event loop's own thread, non-blocking throughout. It keeps the process
 * alive while it receives, unless unref() says otherwise.
 */
export class DatagramSocket implements Disposable {
  readonly #addon: SocketAddon
  readonly #handle: SocketHandle
  readonly #slots: number
  #slab: Uint8Array = new Uint8Array(0)
  #lengths: Uint32Array = new Uint32Array(0)
  #slotSize = 0
  #closed = false

  /** @throws SocketError, NativeAddonError */
  constructor(options: DatagramSocketOptions) {
    const { domain, type, protocol = 0, netnsFd = -1, slots = 32, slotSize = 2048 } = options
    if (!Number.isInteger(slots) || slots < 1 || slots > MAX_SLOTS)
      throw new RangeError(`slots must be 1 to ${MAX_SLOTS}, not ${slots}`)
    if (!Number.isInteger(slotSize) || slotSize < 1 || slotSize > MAX_SLOT_SIZE)
      throw new RangeError(`slotSize must be 1 to ${MAX_SLOT_SIZE}, not ${slotSize}`)
    this.#addon = socketAddon()
    this.#slots = slots
    const handle = this.#addon.open(domain, type, protocol, netnsFd)
    if (typeof handle === 'number') throw new SocketError('open a socket', -handle)
    this.#handle = handle
    this.#allocate(slotSize)
  }

  /** @param address a sockaddr @throws SocketError */
  bind(address: Uint8Array): void {
    this.#check('bind a socket', this.#addon.bind(this.#handle, address))
  }

  /** @param value the option's bytes, or an int @throws SocketError */
  setOption(level: number, name: number, value: Uint8Array | number): void {
    this.#check(
      `set socket option ${level}/${name}`,
      this.#addon.setsockopt(this.#handle, level, name, typeof value === 'number' ? int(value) : value),
    )
  }

  /** The sockaddr that the socket is bound to. @throws SocketError */
  localAddress(): Uint8Array {
    const address = this.#addon.getsockname(this.#handle)
    if (typeof address === 'number') throw new SocketError('read the name of a socket', -address)
    return address
  }

  /**
   * Sends one datagram, now or not at all.
   * @param address the receiver's sockaddr; left out on a connected or a netlink socket
   * @returns bytes sent, or a negative errno: a full buffer or an unreachable peer is an ordinary answer here
   */
  send(datagram: Uint8Array, address?: Uint8Array): number {
    return this.#addon.send(this.#handle, datagram, address)
  }

  /** Has the event loop call the listener for whatever arrives. @throws SocketError */
  start(listener: DatagramListener): void {
    const deliver = (result: number): void => this.#deliver(result, listener)
    this.#check('poll a socket', this.#addon.start(this.#handle, deliver))
  }

  stop(): void {
    this.#addon.stop(this.#handle)
  }

  /**
   * Hands over what has arrived already, without the event loop, until nothing is left.
   * Not to be called by the listener of the same socket: they share the slab.
   */
  drain(listener: DatagramListener): void {
    while (!this.#closed) {
      const result = this.#addon.receive(this.#handle)
      if (result === -constants.errno.EAGAIN) return
      this.#deliver(result, listener)
      // An overrun is reported before what is left; after any other error there is nothing to wait for.
      if (result < 0 && result !== -constants.errno.ENOBUFS) return
    }
  }

  ref(): this {
    this.#addon.ref(this.#handle, true)
    return this
  }

  unref(): this {
    this.#addon.ref(this.#handle, false)
    return this
  }

  /** Idempotent; its port is free at once. */
  close(): void {
    this.#closed = true
    this.#addon.close(this.#handle)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #check(operation: string, result: number): void {
    if (result < 0) throw new SocketError(operation, -result)
  }

  #allocate(slotSize: number): void {
    const buffer = Buffer.allocUnsafeSlow(this.#slots * (LENGTHS + ADDRESS + slotSize))
    this.#addon.slab(this.#handle, buffer, this.#slots)
    this.#slab = new Uint8Array(buffer.buffer)
    this.#lengths = new Uint32Array(buffer.buffer, 0, this.#slots * 2)
    this.#slotSize = slotSize
  }

  #deliver(result: number, listener: DatagramListener): void {
    if (result < 0) {
      listener.failed(new SocketError('receive', -result))
      return
    }
    const batch = this.#batch(result)
    listener.datagrams(batch)
    const longest = batch.reduce((most, { length }) => Math.max(most, length), 0)
    if (longest > this.#slotSize && this.#slotSize < MAX_SLOT_SIZE && !this.#closed)
      this.#allocate(Math.min(MAX_SLOT_SIZE, 2 ** Math.ceil(Math.log2(longest))))
  }

  #batch(count: number): Datagram[] {
    const addresses = this.#slots * LENGTHS
    const datagrams = addresses + this.#slots * ADDRESS
    return Array.from({ length: count }, (_, slot): Datagram => {
      const length = this.#lengths[slot * 2] ?? 0
      const addressLength = Math.min(ADDRESS, this.#lengths[slot * 2 + 1] ?? 0)
      const address = addresses + slot * ADDRESS
      const start = datagrams + slot * this.#slotSize
      return {
        bytes: this.#slab.subarray(start, start + Math.min(length, this.#slotSize)),
        address: this.#slab.subarray(address, address + addressLength),
        length,
      }
    })
  }
}

/**
 * Sets an option of a socket that another process has, as the one who may trace that process can (pidfd_getfd(2)).
 * @param descriptor its number in that process
 * @throws SocketError EPERM where this process may not; EBADF, ESRCH and ENOTSOCK where it is no longer there
 */
export function setOptionOf(pid: number, descriptor: number, level: number, name: number, value: number): void {
  const result = socketAddon().setsockoptOf(pid, descriptor, level, name, int(value))
  if (result < 0) throw new SocketError(`set socket option ${level}/${name} of process ${pid}`, -result)
}

const int = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer)
