import { sameEndpoint } from '../ip.ts'
import { sameSet } from '../same-set.ts'
import type { PeerStatus } from './device.ts'

/** What a peer is now: the same object, or the same parts, as before where it is as it was. */
export function sharedPeer(before: PeerStatus | undefined, now: PeerStatus): PeerStatus {
  if (!before || before === now) return now
  const { publicKey } = before
  const allowedIps = sameSet(before.allowedIps, now.allowedIps) ? before.allowedIps : now.allowedIps
  const endpoint = sameEndpoint(before.endpoint, now.endpoint) ? before.endpoint : now.endpoint
  const same =
    before.allowedIps === allowedIps &&
    before.endpoint === endpoint &&
    before.latestHandshake === now.latestHandshake &&
    before.rxBytes === now.rxBytes &&
    before.txBytes === now.txBytes &&
    before.persistentKeepalive === now.persistentKeepalive
  return same ? before : { ...now, publicKey, allowedIps, endpoint }
}
