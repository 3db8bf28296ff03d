import { familyOf, type IpAddress } from '#wg/ip.ts'
import {
  AF_INET,
  AF_INET6,
  IP_MTU_DISCOVER,
  IPV6_MTU_DISCOVER,
  PMTUDISC_PROBE,
  SO_BINDTODEVICE,
  SOCK_DGRAM,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
} from '#wg/native/constants.ts'
import { decodeSockaddr, encodeSockaddr } from '#wg/native/sockaddr.ts'
import { DatagramSocket } from '#wg/native/socket.ts'
import { decodeEcho, type Echo, encodeEcho } from './echo-message.ts'
import { decodeHello, encodeHello, HELLO_PORT, type HelloMessage } from './message.ts'

/** Called with the sender's address; what is neither is dropped before. */
export interface HelloReceiver {
  hello(from: IpAddress, message: HelloMessage): void
  /** @param length of the datagram, bytes */
  echo(from: IpAddress, echo: Echo, length: number): void
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
      // Whole or not at all: in fragments an echo would arrive on a path that drops packets of its size.
      if (familyOf(address) === 6) this.#socket.setOption(SOL_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
      else this.#socket.setOption(SOL_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
      this.#socket.bind(encodeSockaddr({ address, port: HELLO_PORT }))
      this.#socket.start({
        datagrams: batch => {
          for (const { bytes, address: sockaddr, length } of batch) {
            const from = decodeSockaddr(sockaddr)
            if (from?.port !== HELLO_PORT) continue
            const message = decodeHello(bytes)
            const echo = message ? undefined : decodeEcho(bytes)
            if (message) receiver.hello(from.address, message)
            else if (echo) receiver.echo(from.address, echo, length)
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

  /** Best effort. @param length of the datagram, bytes @returns false where it was not sent */
  sendEcho(to: IpAddress, echo: Echo, length?: number): boolean {
    return this.#post(to, encodeEcho(echo, length))
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }

  #post(to: IpAddress, bytes: Uint8Array): boolean {
    return this.#socket.send(bytes, encodeSockaddr({ address: to, port: HELLO_PORT })) >= 0
  }
}
