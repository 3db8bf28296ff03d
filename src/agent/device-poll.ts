/** Milliseconds between looks at the handshakes: while a pair is changing, and while none is. */
const FAST = 500
const SLOW = 10_000
/** Instead of the latter where a tunnel that does not answer keeps hosts apart. */
const OF_HOSTS = 5_000

/**
 * Peers that are looked at twice a second. There is no way to read some of a device's peers alone, so of more of them the looks
 * are fewer, and cost the same part of a processor; but not so few that keepalives of one peer, which may come every 5 s, add up
 * between two of them to what looks like data.
 */
const MOST = 1_000
const FEWEST = 2_500

/** When the devices of one family are to be read again. Times are milliseconds, of any one clock. */
export class DevicePoll {
  #at = 0
  #readAt: number | undefined

  /** When the next look is due. */
  get at(): number {
    return this.#at
  }

  /** What is known of the devices is of that very moment. */
  wasReadAt(now: number): boolean {
    return this.#readAt === now
  }

  /** @param encryptsHosts what hosts send each other goes by the tunnels too */
  noteRead(now: number, encryptsHosts: boolean): void {
    this.#readAt = now
    this.#at = now + (encryptsHosts ? OF_HOSTS : SLOW)
  }

  /** Something is changing. @param peers on the devices, in all */
  hurry(now: number, peers: number): void {
    this.#at = Math.min(this.#at, now + Math.min(FEWEST, FAST * Math.max(1, peers / MOST)))
  }

  /** Nothing that was read is believed any more. */
  distrust(): void {
    this.#at = 0
  }
}
