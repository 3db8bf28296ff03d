import { familyOf, type IpAddress } from '#wg/ip.ts'
import { AF_INET, AF_INET6, SO_BINDTODEVICE, SOCK_DGRAM, SOL_SOCKET } from '#wg/native/constants.ts'
import { decodeSockaddr, encodeSockaddr } from '#wg/native/sockaddr.ts'
import { DatagramSocket } from '#wg/native/socket.ts'
import { decodeEcho, type Echo, encodeEcho } from './echo-message.ts'
import { decodeHello, encodeHello, HELLO_PORT, type HelloMessage } from './message.ts'

/** Called with the sender's address; what is neither is dropped before. */
export interface HelloReceiver {
  hello(from: IpAddress, message: HelloMessage): void
  echo(from: IpAddress, echo: Echo): void
}

/**
 * Sends and receives hellos and echoes through one WireGuard device. Bound to the device, so that what arrives has come out of the
 * tunnel and what is sent goes into it, whatever the routes say.
 */
export class HelloChannel implements Disposable {
  readonly #socket: DatagramSocket

  /**
   * @param address the device's own address, the source of every hello
   * @throws SocketError: no such device, or the address is not on it
   */
  constructor(device: string, address: IpAddress, receiver: HelloReceiver) {
    this.#socket = new DatagramSocket({ domain: familyOf(address) === 6 ? AF_INET6 : AF_INET, type: SOCK_DGRAM })
    try {
      this.#socket.setOption(SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(`${device}\0`))
      this.#socket.bind(encodeSockaddr({ address, port: HELLO_PORT }))
      this.#socket.start({
        datagrams: batch => {
          for (const { bytes, address: sockaddr } of batch) {
            const from = decodeSockaddr(sockaddr)
            if (from?.port !== HELLO_PORT) continue
            const message = decodeHello(bytes)
            const echo = message ? undefined : decodeEcho(bytes)
            if (message) receiver.hello(from.address, message)
            else if (echo) receiver.echo(from.address, echo)
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
    this.#post(to, encodeHello(message))
  }

  /** Best effort: an echo that cannot be sent counts as lost. */
  sendEcho(to: IpAddress, echo: Echo): void {
    this.#post(to, encodeEcho(echo))
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }

  #post(to: IpAddress, bytes: Uint8Array): void {
    this.#socket.send(bytes, encodeSockaddr({ address: to, port: HELLO_PORT }))
  }
}
