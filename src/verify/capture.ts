import { AF_PACKET, SO_RCVBUFFORCE, SOCK_DGRAM, SOL_SOCKET } from '#wg/native/constants.ts'
import { DatagramSocket, SocketError } from '#wg/native/socket.ts'

/** ETH_P_ALL of linux/if_ether.h: every protocol, and what is sent as well as what arrives. */
const EVERYTHING = 3

/** Bytes of a packet that are looked at: outer headers, those of an overlay, and the start of our payload. */
const SNAP_LENGTH = 512

/** Bytes that may wait for us: a busy node sends much beside ours. */
const RECEIVE_BUFFER = 16 << 20

/**
 * Captures what crosses one device, both ways, from the IP header on. It loses packets silently when the node is too busy;
 * whoever counts must count what he sent.
 */
export class DeviceCapture implements Disposable {
  readonly #socket: DatagramSocket

  /** @throws SocketError, EPERM without CAP_NET_RAW */
  constructor(ifindex: number, look: (packet: Buffer) => void) {
    this.#socket = new DatagramSocket({ domain: AF_PACKET, type: SOCK_DGRAM, slots: 128, slotSize: SNAP_LENGTH })
    try {
      this.#growBuffer()
      this.#socket.bind(linkAddress(ifindex))
      this.#socket.start({
        datagrams: batch => {
          for (const { bytes } of batch) look(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
        },
        // The device went down; what is missing shows in the counts.
        failed: () => {},
      })
    } catch (error) {
      this.#socket.close()
      throw error
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }

  /** CAP_NET_ADMIN goes past the system's limit; without it the ordinary buffer must do. */
  #growBuffer(): void {
    try {
      this.#socket.setOption(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    } catch (error) {
      if (!(error instanceof SocketError)) throw error
    }
  }
}

/**
 * struct sockaddr_ll of linux/if_packet.h: u16 family in host order, u16 protocol in network order, s32 index in host
 * order; the rest, 12 bytes, says nothing where it is bound to.
 */
function linkAddress(ifindex: number): Uint8Array {
  const address = new Uint8Array(20)
  const view = new DataView(address.buffer)
  view.setUint16(0, AF_PACKET, true)
  view.setUint16(2, EVERYTHING)
  view.setInt32(4, ifindex, true)
  return address
}
