/** Echoes that are remembered of a pair, and for how long, milliseconds. */
const MOST = 60
const WINDOW = 5 * 60_000

/** Milliseconds after which an echo that has no answer counts as lost; an answer that comes later still counts as one. */
const LOST_AFTER = 5_000

/** With fewer, one that is lost would make a ratio that says nothing. */
const FEWEST = 5

/** What the echoes of the last minutes say of a pair. */
export interface EchoFigures {
  /** Median, seconds, as the agents see it: the time that they themselves take is in it. Null while no echo is answered. */
  readonly roundTrip: number | null
  /** Part of the echoes that had no answer, either way, 0 to 1. */
  readonly loss: number
}

interface Asked {
  readonly token: bigint
  readonly at: number
  roundTrip: number | undefined
}

/**
 * Round trip and loss of one pair. Pure but for its own memory, which is bounded: the caller gives the time, sends and
 * receives. Times in milliseconds of the agent's clock.
 */
export class EchoMeter {
  #asked: Asked[] = []
  #count = 0
  #answered = false

  /** Asked so often without a single answer: whoever that is, it may be one that knows no echoes. */
  get unanswered(): number {
    return this.#answered ? 0 : this.#count
  }

  /** Whoever that is, it knows echoes. */
  get answered(): boolean {
    return this.#answered
  }

  /** An echo goes out now. @param token that nobody can guess */
  ask(token: bigint, now: number): void {
    this.#count++
    this.#asked.push({ token, at: now, roundTrip: undefined })
    this.#asked = this.#recent(now).slice(-MOST)
  }

  /** An answer came; one to what was not asked, or was answered already, says nothing. @returns whether it counted */
  answer(token: bigint, now: number): boolean {
    const asked = this.#asked.find(one => one.token === token && one.roundTrip === undefined)
    if (!asked) return false
    asked.roundTrip = now - asked.at
    this.#answered = true
    return true
  }

  /** @returns undefined for not known: too few echoes in the window, or a peer that has never answered one */
  figures(now: number): EchoFigures | undefined {
    if (!this.#answered) return undefined
    const settled = this.#recent(now).filter(({ at, roundTrip }) => roundTrip !== undefined || now - at > LOST_AFTER)
    if (settled.length < FEWEST) return undefined
    const times = settled.flatMap(({ roundTrip }) => roundTrip ?? []).sort((a, b) => a - b)
    const median = times[Math.floor(times.length / 2)]
    return {
      roundTrip: median === undefined ? null : median / 1000,
      loss: (settled.length - times.length) / settled.length,
    }
  }

  #recent(now: number): Asked[] {
    return this.#asked.filter(({ at }) => now - at <= WINDOW)
  }
}
