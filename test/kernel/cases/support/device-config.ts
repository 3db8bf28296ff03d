import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { DeviceChange } from '#wg/device/device.ts'
import { addressFromBytes, type Cidr, cidrFromBytes, type Endpoint, formatEndpoint } from '#wg/ip.ts'
import type { Random } from './random.ts'

interface PeerConfig {
  readonly publicKey: PublicKey
  readonly endpoint: Endpoint | undefined
  readonly persistentKeepalive: number
  readonly allowedIps: readonly Cidr[]
}

/** Everything that a device can be told, both families mixed. */
export interface DeviceConfig {
  readonly privateKey: PrivateKey
  readonly listenPort: number
  readonly fwmark: number
  readonly peers: readonly PeerConfig[]
}

const MOST_PREFIXES = 12

export function randomConfig(random: Random, peerCount: number): DeviceConfig {
  // A prefix has one owner: a second one would take it away from the first.
  const taken = new Set<Cidr>()
  const cidr = (): Cidr[] => {
    const one = random.chance(2)
      ? cidrFromBytes(random.bytes(4), random.below(33))
      : cidrFromBytes(random.bytes(16), random.below(129))
    if (taken.has(one)) return []
    taken.add(one)
    return [one]
  }
  const endpoint = (): Endpoint => ({
    // From 1 to 223, and global unicast: the kernel keeps others too, but wg(8) prints some of them in another notation.
    address: addressFromBytes(
      random.chance(2)
        ? Uint8Array.of(random.between(1, 223), ...random.bytes(3))
        : Uint8Array.of(0x20, random.between(2, 255), ...random.bytes(14)),
    ),
    port: random.between(1, 65_535),
  })
  return {
    privateKey: PrivateKey.fromBytes(Uint8Array.of(1, ...random.bytes(31))),
    listenPort: random.between(1_024, 65_535),
    fwmark: random.chance(3) ? 0 : random.uint32(),
    peers: Array.from({ length: peerCount }, () => ({
      publicKey: Buffer.from(Uint8Array.of(1, ...random.bytes(31))).toString('base64') as PublicKey,
      endpoint: random.chance(4) ? undefined : endpoint(),
      persistentKeepalive: random.chance(3) ? 0 : random.between(1, 65_535),
      allowedIps: Array.from({ length: random.below(MOST_PREFIXES) }, cidr).flat(),
    })),
  }
}

/** In the form of picture() and wgDump(). */
export const expectedPicture = ({ privateKey, listenPort, fwmark, peers }: DeviceConfig): unknown => ({
  // The kernel clamps what it is given, as Curve25519 does.
  privateKey: Buffer.from(clamped(privateKey.reveal())).toString('base64'),
  listenPort,
  fwmark,
  peers: peers
    .map(peer => ({ ...peer, allowedIps: [...peer.allowedIps].sort() }))
    .sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1)),
})

export const asChange = ({ peers, ...device }: DeviceConfig): DeviceChange => ({
  ...device,
  peers: peers.map(({ allowedIps, endpoint, ...peer }) => ({
    kind: 'set',
    ...peer,
    ...(endpoint && { endpoint }),
    addAllowedIps: allowedIps,
  })),
})

/** As wg(8) reads it for `wg setconf`. */
export function asConfigFile({ privateKey, listenPort, fwmark, peers }: DeviceConfig): string {
  const lines = [
    '[Interface]',
    `PrivateKey = ${Buffer.from(privateKey.reveal()).toString('base64')}`,
    `ListenPort = ${listenPort}`,
    `FwMark = ${fwmark}`,
  ]
  for (const peer of peers) {
    lines.push('[Peer]', `PublicKey = ${peer.publicKey}`, `PersistentKeepalive = ${peer.persistentKeepalive}`)
    if (peer.endpoint) lines.push(`Endpoint = ${formatEndpoint(peer.endpoint)}`)
    if (peer.allowedIps.length > 0) lines.push(`AllowedIPs = ${peer.allowedIps.join(', ')}`)
  }
  return lines.map(line => `${line}\n`).join('')
}

function clamped(key: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(key)
  bytes[0] = (bytes[0] ?? 0) & 248
  bytes[31] = ((bytes[31] ?? 0) & 127) | 64
  return bytes
}
