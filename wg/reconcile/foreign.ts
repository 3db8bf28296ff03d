import { fingerprint } from '#keys/public-key.ts'
import type { DeviceStatus, PeerStatus } from '../device/device.ts'
import { sameSet } from '../same-set.ts'

/** A device as we know it. */
interface Known {
  readonly status: Omit<DeviceStatus, 'peers'> | undefined
  readonly peers: ReadonlyMap<string, PeerStatus>
}

/**
 * What somebody else did to a device since it was last written or read, in words. The kernel tells of none of it. Learned
 * endpoints, handshakes and counters change by themselves.
 */
export function foreignChanges(known: Known, now: DeviceStatus): string[] {
  const { status, peers } = known
  const { name } = now
  if (!status) return []
  const found: string[] = []
  if (status.publicKey !== now.publicKey) found.push(`changed the key of ${name}`)
  if (status.listenPort !== now.listenPort)
    found.push(`changed the port of ${name} from ${status.listenPort} to ${now.listenPort}`)
  if (status.fwmark !== now.fwmark) found.push(`changed the mark of ${name} to 0x${now.fwmark.toString(16)}`)
  for (const before of peers.values()) {
    const peer = now.peers.get(before.publicKey)
    if (peer === before) continue
    const named = `peer ${fingerprint(before.publicKey)}`
    if (!peer) found.push(`removed ${named} from ${name}`)
    else if (!sameSet(before.allowedIps, peer.allowedIps))
      found.push(`changed what ${named} of ${name} may send: ${difference(before.allowedIps, peer.allowedIps)}`)
    else if (before.persistentKeepalive !== peer.persistentKeepalive)
      found.push(`changed the keepalive of ${named} of ${name} to ${peer.persistentKeepalive}`)
  }
  for (const { publicKey } of now.peers.values())
    if (!peers.has(publicKey)) found.push(`added peer ${fingerprint(publicKey)} to ${name}`)
  return found
}

/** A node may have thousands of prefixes. */
const MOST_SHOWN = 4

function difference(before: ReadonlySet<string>, now: ReadonlySet<string>): string {
  const all = [...[...now.difference(before)].map(cidr => `+${cidr}`), ...[...before.difference(now)].map(c => `-${c}`)]
  const more = all.length > MOST_SHOWN ? ` and ${all.length - MOST_SHOWN} more` : ''
  return `${all.slice(0, MOST_SHOWN).join(' ')}${more}`
}
