import type { PeerStatus } from '#wg/device/device.ts'
import { NONE, withOne } from '#wg/few.ts'
import { cidrContains, type IpAddress, sameEndpoint } from '#wg/ip.ts'
import type { DesiredPeer } from '#wg/reconcile/desired.ts'
import type { FamilyView } from './family-view.ts'
import type { NodeRecord } from './node-record.ts'
import { nodeAddresses } from './record-facts.ts'

/** Milliseconds after which a session is dead and only a new handshake shows that somebody is there (REJECT_AFTER_TIME). */
export const SESSION = 180_000

/** Seconds between keepalives to a peer behind a gateway: shorter than what common ones forget an idle flow after. */
export const NAT_KEEPALIVE = 25

/** Where a peer is dialled, and from where it may be heard. */
export type Whereabouts = Pick<DesiredPeer, 'endpoint' | 'mayRoamTo'> & {
  /** It is heard from another endpoint than it publishes: something between it and us translates addresses. */
  readonly translated: boolean
  /** It stays so whatever the time, while the Node and what the device says of the peer do. */
  readonly lasts: boolean
}

/**
 * A peer is dialled where its Node says. One that is heard from elsewhere is behind a gateway: it is sent to where it is
 * heard from for as long as its handshakes are fresh, and dialled at its own address again after that. Where endpoints are
 * pinned, only gateways that the operator lists count.
 * @param port undefined of a node that has withdrawn what it announced: the endpoint in use is all that is known then
 */
export function whereaboutsOf(
  view: FamilyView,
  node: NodeRecord | undefined,
  port: number | undefined,
  held: PeerStatus | undefined,
): Whereabouts {
  const addresses = node ? nodeAddresses(node, view.family) : []
  const [first] = addresses
  const endpoint = first === undefined || port === undefined ? undefined : { address: first, port }
  const learned = held?.endpoint
  const atHome =
    learned === undefined ||
    port === undefined ||
    sameEndpoint(learned, endpoint) ||
    (learned.port === port && addresses.includes(learned.address))
  const home = { endpoint, mayRoamTo: addresses, translated: false, lasts: atHome }
  if (atHome || !isFresh(held, view.wallTime)) return atHome ? home : { ...home, mayRoamTo: NONE }
  const elsewhere = isGateway(view, learned.address) && !isLeft(view, node, learned.address, held)
  const admitted = addresses.includes(learned.address) || elsewhere
  return admitted ? { endpoint, mayRoamTo: withOne(addresses, learned.address), translated: true, lasts: false } : home
}

/** Whether packets of peers may come from an address that no node publishes. */
export const isGateway = ({ pinsEndpoints, natExceptions }: FamilyView, address: IpAddress): boolean =>
  !pinsEndpoints || natExceptions.some(cidr => cidrContains(cidr, address))

/** Its Node published it, and the peer has not shaken hands from there since: it is the node, which is about to lose it. */
const isLeft = (
  { left }: FamilyView,
  node: NodeRecord | undefined,
  address: IpAddress,
  held: PeerStatus | undefined,
): boolean => {
  const since = node && left.get(node.name)?.get(address)
  return since !== undefined && held !== undefined && Number(held.latestHandshake / 1_000_000n) <= since
}

/** Either way: handshakes are stamped by a clock that may have been set back. */
const isFresh = (held: PeerStatus | undefined, wallTime: number): boolean =>
  held !== undefined &&
  held.latestHandshake > 0n &&
  Math.abs(wallTime - Number(held.latestHandshake / 1_000_000n)) < SESSION
