import { sameEndpoint } from '../ip.ts'
import { sameSet } from '../same-set.ts'
import type { PeerStatus } from './device.ts'

/** What a peer is now: the same object, or the same parts, as before where it is as it was. */
export function sharedPeer(before: PeerStatus | undefined, now: PeerStatus): PeerStatus {
  if (!before || before === now) return now
  const { publicKey } = before
  const allowedIps = sameSet(before.allowedIps, now.allowedIps) ? before.allowedIps : now.allowedIps
  const endpoint = sameEndpoint(before.endpoint, now.endpoint) ? before.endpoint : now.endpoint
  const shared = { ...now, publicKey, allowedIps, endpoint }
  const same = before.rxBytes === now.rxBytes && before.txBytes === now.txBytes && differsByTrafficAlone(before, shared)
  return same ? before : shared
}

/** What is configured of a peer, not learned by it, is the same; the endpoint is both. */
export const sameSettings = (before: PeerStatus | undefined, now: PeerStatus): boolean =>
  before !== undefined &&
  sameSet(before.allowedIps, now.allowedIps) &&
  before.persistentKeepalive === now.persistentKeepalive

/** Nothing but the counters differs, if anything. @param now made by sharedPeer() of `before` */
export const differsByTrafficAlone = (before: PeerStatus, now: PeerStatus): boolean =>
  before.allowedIps === now.allowedIps &&
  before.endpoint === now.endpoint &&
  before.latestHandshake === now.latestHandshake &&
  before.persistentKeepalive === now.persistentKeepalive
