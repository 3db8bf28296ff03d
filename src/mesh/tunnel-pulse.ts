import type { PublicKey } from '#keys/public-key.ts'
import type { PeerStatus } from '#wg/device/device.ts'

/**
 * Milliseconds after which a tunnel that does not answer counts as silent. Whoever is sent data sends at least a keepalive
 * within 10 s (KEEPALIVE_TIMEOUT); after another 5 s a handshake is tried.
 */
export const PATIENCE = 20_000

/** Bytes of a keepalive on the wire: a data message without a packet. */
const KEEPALIVE = 32

interface Beat {
  readonly rxBytes: bigint
  readonly txBytes: bigint
  /** When something was last seen to arrive, milliseconds. */
  readonly at: number
  /** Since when more than keepalives has gone out since. */
  readonly waiting: number | undefined
}

/**
 * Which tunnels do not answer, by the counters of the device alone: whether the other side's agent runs does not matter.
 * Keepalives are not answered, so they are no question.
 */
export class TunnelPulse {
  #beats = new Map<PublicKey, Beat>()

  /** @param now milliseconds, monotonic */
  note(peers: Iterable<PeerStatus>, now: number): void {
    const beats = new Map<PublicKey, Beat>()
    for (const { publicKey, rxBytes, txBytes, persistentKeepalive } of peers) {
      const before = this.#beats.get(publicKey)
      if (!before || before.rxBytes !== rxBytes || txBytes < before.txBytes) {
        beats.set(publicKey, { rxBytes, txBytes, at: now, waiting: undefined })
        continue
      }
      // One follows what arrived, in any case.
      const configured = persistentKeepalive > 0 ? Math.ceil((now - before.at) / 1_000 / persistentKeepalive) : 0
      const asked = Number(txBytes - before.txBytes) > KEEPALIVE * (1 + configured)
      beats.set(publicKey, { ...before, waiting: before.waiting ?? (asked ? now : undefined) })
    }
    this.#beats = beats
  }

  /** Peers that have been silent for too long after something was sent to them. */
  mute(now: number): Set<PublicKey> {
    const silent = [...this.#beats].filter(([, { waiting }]) => waiting !== undefined && now - waiting >= PATIENCE)
    return new Set(silent.map(([key]) => key))
  }
}
