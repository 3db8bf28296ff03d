import { setTimeout as delay } from 'node:timers/promises'
import type { IpAddress } from '#wg/ip.ts'
import {
  AF_INET,
  AF_INET6,
  IP_TRANSPARENT,
  IPV6_TRANSPARENT,
  SOCK_DGRAM,
  SOL_IP,
  SOL_IPV6,
} from '#wg/native/constants.ts'
import { errnoName } from '#wg/native/errno.ts'
import { encodeSockaddr } from '#wg/native/sockaddr.ts'
import { DatagramSocket } from '#wg/native/socket.ts'
import { type Mark, markedPayload } from './marked.ts'
import type { Sent } from './protocol.ts'

/** discard (RFC 863): nobody is troubled by it. */
const DISCARD_PORT = 9

/** Milliseconds between two, so that no network driver makes one frame of them. */
const GAP = 10

/**
 * Sends marked datagrams from this node with any source address, a pod's: the kernel asks the same routes and rules for
 * them as for the pod's own, but that they come in by no device.
 * @throws SocketError, EPERM without CAP_NET_ADMIN
 */
export async function sendMarked(from: IpAddress, to: IpAddress, mark: Mark, count: number): Promise<Sent> {
  const isIpv6 = mark.family === 6
  using socket = new DatagramSocket({ domain: isIpv6 ? AF_INET6 : AF_INET, type: SOCK_DGRAM })
  socket.setOption(isIpv6 ? SOL_IPV6 : SOL_IP, isIpv6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, 1)
  socket.bind(encodeSockaddr({ address: from, port: 0 }))
  const target = encodeSockaddr({ address: to, port: DISCARD_PORT })
  let sent = 0
  let refused: string | undefined
  for (let sequence = 1; sequence <= count; sequence++) {
    const result = socket.send(markedPayload(mark, sequence), target)
    if (result >= 0) sent++
    else refused ??= errnoName(-result)
    await delay(GAP)
  }
  return { sent, ...(refused !== undefined && { refused }) }
}
