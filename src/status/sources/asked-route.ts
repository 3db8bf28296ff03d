import { familyOf } from '#wg/ip.ts'
import { isNetlinkError, NetlinkError } from '#wg/netlink/errors.ts'
import type { RouteQuery } from '#wg/rtnetlink/route.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import type { AskedRoute } from '../asked-route.ts'
import type { Place } from '../explain.ts'
import type { NodeKernel } from '../node-kernel.ts'

/** What the kernel says when it has no way for a packet, in words. */
const REFUSALS: Readonly<Record<string, string>> = {
  ENETUNREACH: 'no route leads there',
  EHOSTUNREACH: 'the host is unreachable, or this node does not forward',
  EACCES: 'a rule or a route prohibits it',
  EXDEV: 'the reverse-path filter drops it where it comes in',
  EINVAL: 'a blackhole route drops it, or its source cannot be',
}

/**
 * Asks the kernel for the way of a packet from here: with the device that it comes in by, where a pod sends it.
 * @throws SocketError, NetlinkError
 */
export async function askRoute(from: Place, to: Place, kernel: NodeKernel): Promise<AskedRoute> {
  using net = RouteNetlink.open()
  const iif = from.kind === 'node' ? undefined : await localDevice(net, from, kernel)
  const query: RouteQuery =
    from.kind === 'node'
      ? { to: to.address, from: from.address }
      : { to: to.address, ...(iif !== undefined && { from: from.address, iif }) }
  const as = from.kind === 'node' ? 'sent' : iif === undefined ? 'unplaced' : 'forwarded'
  const device = iif === undefined ? undefined : kernel.links.get(iif)
  try {
    return { as, device, route: await net.lookUp(query), refused: undefined }
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error
    return { as, device, route: undefined, refused: REFUSALS[error.errnoName] ?? error.message }
  }
}

/** By which the pod is reached, and so by which it sends; undefined where that is no device of this node's own side. */
async function localDevice(net: RouteNetlink, { address }: Place, kernel: NodeKernel): Promise<number | undefined> {
  try {
    const route = await net.lookUp({ to: address })
    const tunnel = kernel.families[familyOf(address)].link?.index
    return route?.type === 'unicast' && route.gateway === undefined && route.device !== tunnel
      ? route.device
      : undefined
  } catch (error) {
    if (isNetlinkError(error, ...Object.keys(REFUSALS))) return undefined
    throw error
  }
}
