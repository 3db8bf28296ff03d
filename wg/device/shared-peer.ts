import { sameEndpoint } from '../ip.ts'
import { sameSet } from '../same-set.ts'
import type { PeerStatus } from './device.ts'

/** What a peer is now: the same object, or the same parts, as before where it is as it was. */
export function sharedPeer(before: PeerStatus | undefined, now: PeerStatus): PeerStatus {
  if (!before || before === now) return now
  const { allowedIps, endpoint } = before
  const sameIps = sameSet(allowedIps, now.allowedIps)
  const sameRest =
    before.latestHandshake === now.latestHandshake &&
    before.rxBytes === now.rxBytes &&
    before.txBytes === now.txBytes &&
    before.persistentKeepalive === now.persistentKeepalive &&
    (endpoint && now.endpoint ? sameEndpoint(endpoint, now.endpoint) : endpoint === now.endpoint)
  if (sameIps && sameRest) return before
  return sameIps ? { ...now, allowedIps } : now
}
