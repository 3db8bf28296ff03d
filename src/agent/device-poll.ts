/** Milliseconds between looks at handshakes: at those of pairs that are changing, and at all. */
const FAST = 500
const SLOW = 10_000
/** Instead of the latter where a tunnel that does not answer keeps hosts apart. */
const OF_HOSTS = 5_000

/**
 * Peers of devices that are looked at twice a second. A device tells of all its peers whichever are asked for, so of more of
 * them the looks are fewer, and cost the same part of a processor; but not so few that keepalives of one peer, which may come
 * every 5 s, add up between two of them to what looks like data.
 */
const MOST = 1_000
const FEWEST = 2_500

/** Part of all peers up to which the changing ones are looked at alone: of all of them most are said to be what they were. */
const FEW = 1 / 8

/** When the devices of one family are to be read again, and how much of them. Times are milliseconds, of any one clock. */
export class DevicePoll {
  #allAt = 0
  #changingAt = Number.POSITIVE_INFINITY
  #readAt: number | undefined

  /** When the next look is due. */
  get at(): number {
    return Math.min(this.#allAt, this.#changingAt)
  }

  /**
   * What is to be looked at now: peers of pairs that are changing, or all there is.
   * @param changing how many peers such pairs have, of how many in all
   */
  due(now: number, changing: number, peers: number): 'nothing' | 'changing' | 'all' {
    if (now < this.at) return 'nothing'
    return now >= this.#allAt || changing > peers * FEW ? 'all' : 'changing'
  }

  /** All that is known of the devices is of that very moment. */
  wasReadAt(now: number): boolean {
    return this.#readAt === now
  }

  /** @param encryptsHosts what hosts send each other goes by the tunnels too */
  noteRead(now: number, encryptsHosts: boolean): void {
    this.#readAt = now
    this.#allAt = now + (encryptsHosts ? OF_HOSTS : SLOW)
    this.#changingAt = Number.POSITIVE_INFINITY
  }

  /** Only peers of pairs that are changing were looked at. */
  noteLook(): void {
    this.#changingAt = Number.POSITIVE_INFINITY
  }

  /** Something is changing. @param peers on the devices, in all */
  hurry(now: number, peers: number): void {
    this.#changingAt = Math.min(this.#changingAt, now + Math.min(FEWEST, FAST * Math.max(1, peers / MOST)))
  }

  /** Nothing that was read is believed any more. */
  distrust(): void {
    this.#allAt = 0
  }
}
