import fc from 'fast-check'
import type { PublicKey } from '#keys/public-key.ts'
import type { DeviceChange, PeerChange } from '#wg/device/device.ts'
import type { Cidr, Endpoint } from '#wg/ip.ts'
import { cidr, endpoint, privateKey, publicKey } from '../../unit/wireguard/arbitrary.ts'
import type { ModelDevice } from '../../unit/wireguard/model.ts'

/** What a step does to a peer; numbers pick from small pools, so that peers, moves and removals meet. */
interface PeerStep {
  readonly peer: number
  readonly remove: boolean
  readonly updateOnly: boolean
  readonly endpoint: Endpoint | undefined
  readonly persistentKeepalive: number | undefined
  readonly add: readonly number[]
  readonly take: readonly number[]
}

interface Step {
  readonly device: DeviceChange
  readonly peers: readonly PeerStep[]
}

export interface Scenario {
  readonly keys: readonly PublicKey[]
  readonly cidrs: readonly Cidr[]
  readonly steps: readonly Step[]
}

const peerStep: fc.Arbitrary<PeerStep> = fc.record({
  peer: fc.nat(7),
  remove: fc.boolean(),
  updateOnly: fc.boolean(),
  endpoint: fc.option(endpoint, { nil: undefined }),
  persistentKeepalive: fc.option(fc.nat(65_535), { nil: undefined }),
  add: fc.array(fc.nat(15), { maxLength: 4 }),
  take: fc.array(fc.nat(15), { maxLength: 3 }),
})

const step: fc.Arbitrary<Step> = fc.record({
  device: fc.record({ privateKey, listenPort: fc.nat(65_535), fwmark: fc.nat(0xffff_ffff) }, { requiredKeys: [] }),
  // A peer once in a change, as a reconciler has it.
  peers: fc.uniqueArray(peerStep, { maxLength: 6, selector: ({ peer }) => peer }),
})

/** A device's life: changes that build on each other. */
export const scenario: fc.Arbitrary<Scenario> = fc.record({
  keys: fc.uniqueArray(publicKey, { minLength: 8, maxLength: 8 }),
  cidrs: fc.uniqueArray(cidr, { minLength: 16, maxLength: 16 }),
  steps: fc.array(step, { minLength: 1, maxLength: 8 }),
})

/**
 * The step as a change. It keeps to the caller's part of the bargain: it takes from a peer only what the peer has, and not
 * what it adds to another that is only to be updated and is not there.
 */
export function changeOf({ keys, cidrs }: Scenario, { device, peers }: Step, model: ModelDevice): DeviceChange {
  const pick = <Item>(pool: readonly Item[], index: number): Item => {
    const item = pool[index % pool.length]
    if (item === undefined) throw new Error('empty pool')
    return item
  }
  const addsTo = ({ add }: PeerStep) => add.map(index => pick(cidrs, index))
  const lost = new Set(
    peers.filter(({ peer, updateOnly }) => updateOnly && !model.peers.has(pick(keys, peer))).flatMap(addsTo),
  )
  const change = (given: PeerStep): PeerChange => {
    const key = pick(keys, given.peer)
    if (given.remove && given.take.length === 0) return { kind: 'remove', publicKey: key }
    const has = [...(model.peers.get(key)?.allowedIps ?? [])].filter(cidr => !lost.has(cidr))
    return {
      kind: 'set',
      publicKey: key,
      updateOnly: given.updateOnly,
      ...(given.endpoint && { endpoint: given.endpoint }),
      ...(given.persistentKeepalive !== undefined && { persistentKeepalive: given.persistentKeepalive }),
      addAllowedIps: [...new Set(addsTo(given))],
      removeAllowedIps: has.length === 0 ? [] : [...new Set(given.take.map(index => pick(has, index)))],
    }
  }
  return { ...device, peers: peers.map(change) }
}
