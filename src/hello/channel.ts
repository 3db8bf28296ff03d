import { familyOf, type IpAddress } from '#wg/ip.ts'
import { AF_INET, AF_INET6, SO_BINDTODEVICE, SOCK_DGRAM, SOL_SOCKET } from '#wg/native/constants.ts'
import { decodeSockaddr, encodeSockaddr } from '#wg/native/sockaddr.ts'
import { DatagramSocket } from '#wg/native/socket.ts'
import { decodeHello, encodeHello, HELLO_PORT, type HelloMessage } from './message.ts'

/**
 * Sends and receives hellos through one WireGuard device. Bound to the device, so that what arrives has come out of the
 * tunnel and what is sent goes into it, whatever the routes say.
 */
export class HelloChannel implements Disposable {
  readonly #socket: DatagramSocket

  /**
   * @param address the device's own address, the source of every hello
   * @param receive called with the sender's address; what is no hello is dropped before
   * @throws SocketError: no such device, or the address is not on it
   */
  constructor(device: string, address: IpAddress, receive: (from: IpAddress, message: HelloMessage) => void) {
    this.#socket = new DatagramSocket({ domain: familyOf(address) === 6 ? AF_INET6 : AF_INET, type: SOCK_DGRAM })
    try {
      this.#socket.setOption(SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(`${device}\0`))
      this.#socket.bind(encodeSockaddr({ address, port: HELLO_PORT }))
      this.#socket.start({
        datagrams: batch => {
          for (const { bytes, address: sockaddr } of batch) {
            const from = decodeSockaddr(sockaddr)
            const message = from?.port === HELLO_PORT ? decodeHello(bytes) : undefined
            if (from && message) receive(from.address, message)
          }
        },
        // A refused or unreachable hello says nothing that its silence does not.
        failed: () => {},
      })
      this.#socket.unref()
    } catch (error) {
      this.#socket.close()
      throw error
    }
  }

  /** Best effort: a hello that cannot be sent now is sent again later. */
  send(to: IpAddress, message: HelloMessage): void {
    this.#socket.send(encodeHello(message), encodeSockaddr({ address: to, port: HELLO_PORT }))
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }
}
