/** Milliseconds between two looks at a pair's counters, and the bytes within which it counts as idle. */
const LOOK = 30_000
const IDLE_BYTES = 1_024n

/** Milliseconds for which a pair counts as in use after it was. */
const HOLD = 60_000

/**
 * Whether anybody uses a pair: an idle one is left alone, as each echo would keep its WireGuard session alive. Echoes
 * themselves are not use, nor are hellos, handshakes and keepalives.
 */
export class PairUse {
  #last: { readonly at: number; readonly others: bigint } | undefined
  #usedAt: number

  /** Counts as in use until the first look says otherwise. @param now milliseconds */
  constructor(now: number) {
    this.#usedAt = now
  }

  /**
   * @param bytes both counters of the peer, in sum, as the kernel has them now
   * @param echoBytes what echoes have added to them
   */
  look(bytes: bigint, echoBytes: number, now: number): void {
    const others = bytes - BigInt(echoBytes)
    const last = this.#last
    if (last && now - last.at < LOOK) return
    this.#last = { at: now, others }
    if (last && others - last.others > IDLE_BYTES) this.#usedAt = now
  }

  inUse(now: number): boolean {
    return now - this.#usedAt <= HOLD
  }
}
