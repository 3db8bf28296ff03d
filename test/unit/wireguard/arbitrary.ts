import fc from 'fast-check'
import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { DeviceChange, PeerChange } from '#wg/device/device.ts'
import { addressFromBytes, type Cidr, cidrFromBytes, type Endpoint } from '#wg/ip.ts'

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

/** Any 32 bytes stand for a key: making thousands of real ones would take the time of the whole suite. */
export const publicKey = bytes(32).map(key => Buffer.from(key).toString('base64') as PublicKey)

export const privateKey = bytes(32)
  .filter(key => key.some(byte => byte !== 0))
  .map(key => PrivateKey.fromBytes(key))

export const cidr: fc.Arbitrary<Cidr> = fc.oneof(
  fc.tuple(bytes(4), fc.nat(32)).map(([address, length]) => cidrFromBytes(address, length)),
  fc.tuple(bytes(16), fc.nat(128)).map(([address, length]) => cidrFromBytes(address, length)),
)

export const endpoint: fc.Arbitrary<Endpoint> = fc.record({
  address: fc.oneof(bytes(4), bytes(16)).map(address => addressFromBytes(address)),
  port: fc.integer({ min: 1, max: 65_535 }),
})

const setPeer = (maxPrefixes: number): fc.Arbitrary<Omit<Extract<PeerChange, { kind: 'set' }>, 'publicKey'>> =>
  fc.record(
    {
      kind: fc.constant('set' as const),
      updateOnly: fc.boolean(),
      endpoint,
      persistentKeepalive: fc.nat(65_535),
      addAllowedIps: fc.array(cidr, { maxLength: maxPrefixes }),
      removeAllowedIps: fc.array(cidr, { maxLength: 3 }),
    },
    { requiredKeys: ['kind'] },
  )

/** Changes with few and long, or many and short peers. */
export const peerChanges = ({ maxPeers, maxPrefixes }: { maxPeers: number; maxPrefixes: number }) =>
  fc.array(
    fc
      .tuple(
        publicKey,
        fc.oneof({ weight: 5, arbitrary: setPeer(maxPrefixes) }, fc.constant({ kind: 'remove' as const })),
      )
      .map(([key, change]): PeerChange => ({ publicKey: key, ...change })),
    { maxLength: maxPeers, size: 'max' },
  )

export const deviceChange = (size: { maxPeers: number; maxPrefixes: number }): fc.Arbitrary<DeviceChange> =>
  fc.record(
    { privateKey, listenPort: fc.nat(65_535), fwmark: fc.nat(0xffff_ffff), peers: peerChanges(size) },
    { requiredKeys: [] },
  )
