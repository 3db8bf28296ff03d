import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { Cidr } from '../ip.ts'
import type { DeviceChange, PeerChange } from './device.ts'

type SetPeer = Extract<PeerChange, { kind: 'set' }>

/** A peer and the prefixes to take from it. */
export interface PrefixRemoval {
  readonly publicKey: PublicKey
  readonly cidrs: readonly Cidr[]
}

export interface SplitChange {
  /** What is written first. */
  readonly main: DeviceChange
  readonly removals: readonly PrefixRemoval[]
  /** What the change adds, to whichever peer. */
  readonly added: ReadonlySet<Cidr>
}

/**
 * Takes the removals of prefixes out of a change: they are written last, when what replaces them is there. A prefix that
 * the change also adds to the same peer stays, and a peer that goes as a whole needs none of them.
 */
export function splitRemovals(change: DeviceChange): SplitChange {
  const { peers } = change
  const added = new Set<Cidr>()
  if (!peers?.some(hasRemovals)) return { main: change, removals: [], added }
  const removed = new Set<PublicKey>()
  for (const peer of peers) {
    if (peer.kind === 'remove') removed.add(peer.publicKey)
    else for (const cidr of peer.addAllowedIps ?? []) added.add(cidr)
  }
  const main: PeerChange[] = []
  const removals: PrefixRemoval[] = []
  for (const peer of peers) {
    if (!hasRemovals(peer)) {
      main.push(peer)
      continue
    }
    const { removeAllowedIps, ...rest } = peer
    if (!(peer.updateOnly && saysNothing(rest))) main.push(rest)
    const own = new Set(peer.addAllowedIps)
    const cidrs = removeAllowedIps.filter(cidr => !own.has(cidr))
    if (cidrs.length > 0 && !removed.has(peer.publicKey)) removals.push({ publicKey: peer.publicKey, cidrs })
  }
  return { main: { ...change, peers: main }, removals, added }
}

const hasRemovals = (peer: PeerChange): peer is SetPeer & { removeAllowedIps: readonly Cidr[] } =>
  peer.kind === 'set' && peer.removeAllowedIps !== undefined

const saysNothing = ({ endpoint, persistentKeepalive, addAllowedIps = [] }: SetPeer): boolean =>
  endpoint === undefined && persistentKeepalive === undefined && addAllowedIps.length === 0

/**
 * Writes removals by the remove flag (Linux 6.16, wireguard-go of May 2025), and where that is refused, then and from
 * then on, through a throw-away peer: it takes the prefixes, atomically, and goes with them. It has a key that nobody
 * has and no endpoint, so nothing is sent to it. Only the first way leaves alone a prefix that is with another peer
 * than the caller believes, and takes one whose new owner turns out not to be there.
 */
export class PrefixRemover {
  readonly #write: (device: string, change: DeviceChange) => Promise<void>
  readonly #isUnsupported: (error: unknown) => boolean
  /** Undefined before the first removal. */
  #byFlag: boolean | undefined

  /**
   * @param write as the device's own: it must know the remove flag
   * @param isUnsupported whether this error is how an implementation that does not know the flag answers
   */
  constructor(
    write: (device: string, change: DeviceChange) => Promise<void>,
    isUnsupported: (error: unknown) => boolean,
  ) {
    this.#write = write
    this.#isUnsupported = isUnsupported
  }

  /** After `main` was written. */
  async remove(device: string, { removals, added }: SplitChange): Promise<void> {
    if (removals.length === 0) return
    if (this.#byFlag !== false) {
      try {
        await this.#write(device, { peers: removals.map(byFlag) })
        this.#byFlag = true
        return
      } catch (error) {
        if (this.#byFlag || !this.#isUnsupported(error)) throw error
        this.#byFlag = false
      }
    }
    // What was added has moved, and would be taken from its new owner.
    const cidrs = removals.flatMap(removal => removal.cidrs).filter(cidr => !added.has(cidr))
    if (cidrs.length > 0) await this.#write(device, { peers: byThrowAway(cidrs) })
  }
}

const byFlag = ({ publicKey, cidrs }: PrefixRemoval): PeerChange => ({
  kind: 'set',
  publicKey,
  updateOnly: true,
  removeAllowedIps: cidrs,
})

function byThrowAway(addAllowedIps: readonly Cidr[]): PeerChange[] {
  const publicKey = PrivateKey.generate().publicKey()
  return [
    { kind: 'set', publicKey, addAllowedIps },
    { kind: 'remove', publicKey },
  ]
}
