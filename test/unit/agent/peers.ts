import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerState } from '#src/mesh/peer-machine.ts'
import type { PeerStatus } from '#wg/device/device.ts'

export const node = (index: number): NodeName => `node-${index}` as NodeName

export const keyOf = (index: number): PublicKey => PrivateKey.fromBytes(new Uint8Array(32).fill(index * 16)).publicKey()

export const accepting = (index: number, since: number, reason = 'no handshake yet'): PeerState => ({
  ...{ phase: 'accepting', since, key: keyOf(index), candidate: undefined, helloAddress: undefined },
  ...{ baseline: undefined, parked: false, reason },
})

export const encrypting = (index: number, since: number): PeerState => ({
  ...{ phase: 'encrypting', since, key: keyOf(index), candidate: undefined, helloAddress: undefined },
  reason: 'its hello says that it accepts all that we publish',
})

export const kernelPeer = (index: number, rxBytes: number, txBytes: number): [PublicKey, PeerStatus] => [
  keyOf(index),
  {
    publicKey: keyOf(index),
    endpoint: undefined,
    allowedIps: new Set(),
    persistentKeepalive: 0,
    latestHandshake: 1n,
    rxBytes: BigInt(rxBytes),
    txBytes: BigInt(txBytes),
  },
]
