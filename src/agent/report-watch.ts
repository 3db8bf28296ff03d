import type { PublicKey } from '#keys/public-key.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import { PATIENCE } from '#src/status/tally.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { AT_A_TIME } from '#wg/slices.ts'

/**
 * Data is answered within 10 s, be it by a keepalive, and initiations of 148 bytes follow every 5 s where it is not
 * (WireGuard's KEEPALIVE_TIMEOUT, REKEY_TIMEOUT). A lone keepalive of 32 bytes needs no answer.
 */
const SILENCE = 20_000
const SILENCE_BYTES = 2n * 148n

/** A pair of nodes as people ask about it: the planner's state, and what only time tells. */
export interface WatchedPeer {
  readonly state: PeerState
  /** When the phase began, milliseconds of the agent's clock; of an absent peer, when it was first seen so. */
  readonly since: number
  /** It should encrypt, and has not proven that it can for longer than patience lasts. */
  readonly unproven: boolean
  /** Since when what is sent is not answered; undefined while it is. */
  readonly silentSince: number | undefined
  readonly traffic: Traffic | undefined
}

interface Traffic {
  readonly key: PublicKey
  readonly rxBytes: bigint
  readonly txBytes: bigint
  /** The first thing sent since something last came: when, and how many bytes had been sent before it. */
  readonly unanswered: { readonly since: number; readonly txBefore: bigint } | undefined
}

/** A pair that is other than at the look before; undefined before for one that is new. */
export interface WatchChange {
  readonly node: NodeName
  readonly before: WatchedPeer | undefined
  readonly after: WatchedPeer
}

/** The pairs of one family, as they were at the last look. */
export class PairWatch {
  readonly #watched = new Map<NodeName, WatchedPeer>()

  /** Live. */
  get pairs(): ReadonlyMap<NodeName, WatchedPeer> {
    return this.#watched
  }

  /**
   * Takes in what time makes of the states, in steps.
   * @param kernelPeer the peer of the device that stands for a pair, as last read
   * @param now milliseconds of the agent's clock
   */
  *look(
    states: PeerStates,
    kernelPeer: (node: NodeName, state: PeerState) => PeerStatus | undefined,
    now: number,
  ): Generator<undefined, readonly WatchChange[]> {
    const changes: WatchChange[] = []
    let looked = 0
    for (const [node, state] of states) {
      if (++looked % AT_A_TIME === 0) yield
      const before = this.#watched.get(node)
      const after = watchPeer(before, state, kernelPeer(node, state), now)
      if (after !== before) {
        this.#watched.set(node, after)
        changes.push({ node, before, after })
      }
    }
    if (this.#watched.size > states.size)
      for (const node of this.#watched.keys()) if (!states.has(node)) this.#watched.delete(node)
    return changes
  }
}

function watchPeer(
  before: WatchedPeer | undefined,
  state: PeerState,
  kernelPeer: PeerStatus | undefined,
  now: number,
): WatchedPeer {
  const since = sinceOf(before, state, now)
  const unproven = state.phase === 'accepting' && now - since > PATIENCE
  const peer = state.phase === 'encrypting' ? kernelPeer : undefined
  const traffic = peer && watchTraffic(before?.traffic, peer, now)
  const silentSince = traffic && isSilent(traffic, now) ? traffic.unanswered?.since : undefined
  const same =
    before?.state === state &&
    before.since === since &&
    before.unproven === unproven &&
    before.silentSince === silentSince &&
    before.traffic === traffic
  return same ? before : { state, since, unproven, silentSince, traffic }
}

function sinceOf(before: WatchedPeer | undefined, state: PeerState, now: number): number {
  if (state.phase !== 'absent') return state.since
  return before?.state.phase === 'absent' ? before.since : now
}

function watchTraffic(before: Traffic | undefined, peer: PeerStatus, now: number): Traffic {
  const { publicKey: key, rxBytes, txBytes } = peer
  if (before?.key !== key || rxBytes !== before.rxBytes || txBytes < before.txBytes)
    return { key, rxBytes, txBytes, unanswered: undefined }
  if (txBytes === before.txBytes) return before
  return { ...before, txBytes, unanswered: before.unanswered ?? { since: now, txBefore: before.txBytes } }
}

const isSilent = ({ txBytes, unanswered }: Traffic, now: number): boolean =>
  unanswered !== undefined && now - unanswered.since >= SILENCE && txBytes - unanswered.txBefore >= SILENCE_BYTES
