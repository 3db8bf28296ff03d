import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { PairWatch } from '#src/agent/report-watch.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { atOnce } from '#wg/slices.ts'

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

/** A look at peers that are known by their keys. @returns what has changed */
export const lookAtOnce = (
  watch: PairWatch,
  states: PeerStates,
  kernel: ReadonlyMap<PublicKey, PeerStatus>,
  now: number,
) => atOnce(watch.look(states, (_, state) => (state.phase === 'absent' ? undefined : kernel.get(state.key)), now))
