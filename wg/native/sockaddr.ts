import { addressBytes, addressFromBytes, type Endpoint, familyOf, type IpAddress } from '../ip.ts'
import { AF_INET, AF_INET6 } from './constants.ts'

/** struct sockaddr_in and sockaddr_in6 of netinet/in.h. Family in host order, port and address in network order. */
const SOCKADDR_IN = 16
const SOCKADDR_IN6 = 28

/**
 * @param endpoint port 0 lets the kernel choose where the address is bound to
 * @param scopeId device index that a link-local address needs
 */
export function encodeSockaddr({ address, port }: { address: IpAddress; port: number }, scopeId = 0): Uint8Array {
  const isIpv6 = familyOf(address) === 6
  const sockaddr = new Uint8Array(isIpv6 ? SOCKADDR_IN6 : SOCKADDR_IN)
  const view = new DataView(sockaddr.buffer)
  view.setUint16(0, isIpv6 ? AF_INET6 : AF_INET, true)
  view.setUint16(2, port)
  sockaddr.set(addressBytes(address), isIpv6 ? 8 : 4)
  if (isIpv6) view.setUint32(24, scopeId, true)
  return sockaddr
}

/** @returns undefined for any other address family, or too few bytes */
export function decodeSockaddr(sockaddr: Uint8Array): Endpoint | undefined {
  if (sockaddr.length < SOCKADDR_IN) return undefined
  const view = new DataView(sockaddr.buffer, sockaddr.byteOffset, sockaddr.length)
  const family = view.getUint16(0, true)
  const port = view.getUint16(2)
  if (family === AF_INET) return { address: addressFromBytes(sockaddr.subarray(4, 8)), port }
  if (family === AF_INET6 && sockaddr.length >= SOCKADDR_IN6)
    return { address: addressFromBytes(sockaddr.subarray(8, 24)), port }
  return undefined
}
