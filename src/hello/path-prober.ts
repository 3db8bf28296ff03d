import type { Family } from '#wg/ip.ts'

/** Milliseconds. */
export interface ProbeTimes {
  /** Between two looks at whether the largest packets still arrive. */
  readonly period: number
  /** Between two looks at whether larger ones arrive than were last found to. */
  readonly recheck: number
}

export const PROBE_TIMES: ProbeTimes = { period: 30_000, recheck: 300_000 }

/**
 * Below this nobody looks: IPv6 cannot be carried by less, and every IPv4 host must take a datagram of 576 bytes (RFC 8200,
 * section 5; RFC 791, section 3.1). Both are multiples of STEP.
 */
export const PATH_MTU_FLOOR: Readonly<Record<Family, number>> = { 4: 576, 6: 1280 }

/** WireGuard pads to this, so only such a size says exactly how large its outer packet is. */
const STEP = 16

/** Milliseconds after which what has no answer counts as lost. */
const WAIT = 1_500

/** Rounds, net of unclear ones, after which a size counts as dropped: to begin to doubt, and once a search is under way. */
const MARKS = { watch: 6, else: 3 } as const

/** Rounds after which a size that is neither seen to arrive nor to be dropped is left at that. */
const MOST_ROUNDS = 30

/** What a round says: only where small packets come back, and come back before and after, can the lack of a large one mean anything. */
export type Verdict = 'passed' | 'dropped' | 'unclear'

/**
 * What is being found out. `watch`: the size in use still arrives. `search`: `high` is dropped, `low` arrives, undefined
 * while that is being asked of the floor. `confirm`: `low` is the largest that arrives, and what is in use is asked once more.
 * `whole`: the tunnel's MTU arrives after all. `more`: the next larger size does.
 */
export type Stage =
  | { readonly kind: 'watch' | 'whole' | 'more' }
  | { readonly kind: 'search'; readonly low: number | undefined; readonly high: number }
  | { readonly kind: 'confirm'; readonly low: number }

/** Sizes of packets inside the tunnel, bytes. */
export interface PathState {
  /** What packets to this peer may have. */
  readonly mtu: number
  /** Of the tunnel. */
  readonly full: number
  readonly floor: number
  readonly stage: Stage
}

const WATCH: Stage = { kind: 'watch' }

/** The size to ask with. Undefined: there is nothing to find out, as nothing lies below what is in use. */
export function sizeToAsk({ mtu, full, floor, stage }: PathState): number | undefined {
  switch (stage.kind) {
    case 'watch':
    case 'confirm':
      return mtu > floor ? mtu : undefined
    case 'whole':
      return full
    case 'more':
      return mtu + STEP
    case 'search':
      return stage.low === undefined ? floor : between(stage.low, stage.high)
  }
}

/** The state after it was found out what becomes of the size that was asked. */
export function afterTrial(state: PathState, verdict: Verdict): PathState {
  const { mtu, full, floor, stage } = state
  const rest = { ...state, stage: WATCH }
  switch (stage.kind) {
    case 'watch':
      return verdict === 'dropped' && mtu > floor
        ? { ...state, stage: { kind: 'search', low: undefined, high: mtu } }
        : rest
    case 'whole':
      if (verdict === 'passed') return { ...rest, mtu: full }
      return mtu + STEP < full ? { ...state, stage: { kind: 'more' } } : rest
    case 'more':
      return verdict === 'passed' ? narrowed(state, mtu + STEP, full) : rest
    case 'search': {
      const asked = sizeToAsk(state) ?? floor
      if (verdict === 'passed') return narrowed(state, asked, stage.high)
      // Where not even the floor arrives, a smaller MTU would mend nothing.
      return verdict === 'dropped' && stage.low !== undefined ? narrowed(state, stage.low, asked) : rest
    }
    case 'confirm':
      return verdict === 'dropped' ? { ...rest, mtu: stage.low } : rest
  }
}

function narrowed(state: PathState, low: number, high: number): PathState {
  if (between(low, high) !== undefined) return { ...state, stage: { kind: 'search', low, high } }
  // Whatever was lost by chance until now: what is in use is not taken away without a last look.
  if (low < state.mtu) return { ...state, stage: { kind: 'confirm', low } }
  return { ...state, mtu: low, stage: WATCH }
}

/** The multiple of STEP in the middle; undefined where there is none between. @param low a multiple itself */
function between(low: number, high: number): number | undefined {
  const middle = Math.max(low + STEP, Math.floor((low + high) / 2 / STEP) * STEP)
  return middle < high ? middle : undefined
}

/** A large echo between two small ones, by their tokens. */
export interface Round {
  readonly large: bigint
  readonly small: readonly [bigint, bigint]
}

/**
 * The path MTU to one peer in one family, and what to ask next to know it. Pure but for its own memory: the caller gives
 * the time, in milliseconds of the agent's clock, sends and receives.
 */
export class PathProber {
  readonly #times: ProbeTimes
  #state: PathState
  #dueAt: number
  #recheckAt: number
  #marks = 0
  #rounds = 0
  #round: { readonly tokens: Round; readonly missing: Set<bigint>; readonly at: number } | undefined
  #seen: boolean
  #blocked = false

  /**
   * @param full MTU of the tunnel
   * @param dueAt when to ask for the first time
   * @param mtu what was found before, where that is known
   */
  constructor(family: Family, full: number, times: ProbeTimes, dueAt: number, mtu = full) {
    this.#times = times
    this.#state = { mtu: Math.min(mtu, full), full, floor: PATH_MTU_FLOOR[family], stage: WATCH }
    this.#dueAt = dueAt
    this.#recheckAt = dueAt + times.recheck
    this.#seen = mtu < full
  }

  /** Bytes that packets to the peer may have: the tunnel's MTU until a smaller one was found. */
  get mtu(): number {
    return this.#state.mtu
  }

  /** Whether that was seen to arrive, and is not merely assumed. */
  get seen(): boolean {
    return this.#seen
  }

  /** Small packets come back, and those of the smallest MTU that can be had do not. */
  get blocked(): boolean {
    return this.#blocked
  }

  /** The tunnel has another MTU. */
  limit(full: number, now: number): void {
    const { mtu, full: before } = this.#state
    if (full === before) return
    const kept = mtu === before ? full : Math.min(mtu, full)
    this.#state = { ...this.#state, full, mtu: kept, stage: WATCH }
    this.#seen &&= kept < full
    this.doubt(now)
  }

  /** The path may be another one: asks anew, and keeps what was found until then. */
  doubt(now: number): void {
    this.#round = undefined
    this.#begin({ ...this.#state, stage: WATCH })
    this.#dueAt = now
    this.#recheckAt = now
  }

  /** @returns the size of the large echo of the round that is due, in bytes of its IP packet; undefined for none */
  due(now: number): number | undefined {
    if (this.#round && now - this.#round.at >= WAIT) this.#conclude(verdictOf(this.#round), now)
    if (this.#round || now < this.#dueAt) return undefined
    const { stage, mtu, full } = this.#state
    if (stage.kind === 'watch' && this.#rounds === 0 && mtu < full && now >= this.#recheckAt)
      this.#begin({ ...this.#state, stage: { kind: 'whole' } })
    return sizeToAsk(this.#state)
  }

  /** A round goes out now. @param tokens that nobody can guess */
  ask(tokens: Round, now: number): void {
    this.#round = { tokens, missing: new Set([tokens.large, ...tokens.small]), at: now }
  }

  /** It could not be sent. */
  fail(now: number): void {
    if (this.#round) this.#conclude('unclear', now)
  }

  /** @returns whether that was an answer to what is out */
  answer(token: bigint, now: number): boolean {
    const round = this.#round
    if (!round?.missing.delete(token)) return false
    if (token === round.tokens.large) this.#conclude('passed', now)
    return true
  }

  #conclude(verdict: Verdict, now: number): void {
    this.#round = undefined
    this.#rounds++
    this.#marks = Math.max(0, this.#marks + WEIGHT[verdict])
    const watching = this.#state.stage.kind === 'watch'
    const outcome = this.#outcome(verdict, watching)
    if (outcome === undefined) {
      this.#dueAt = now
      return
    }
    const before = this.#state
    this.#begin(afterTrial(before, outcome))
    const rests = this.#state.stage.kind === 'watch'
    this.#dueAt = rests ? now + this.#times.period : now
    if (rests && !watching) this.#recheckAt = now + this.#times.recheck
    if (outcome === 'passed') this.#seen = true
    const { stage } = before
    if (stage.kind === 'search' && stage.low === undefined) this.#blocked = outcome === 'dropped'
    else if (outcome === 'passed') this.#blocked = false
  }

  /** @returns undefined while more rounds are needed */
  #outcome(verdict: Verdict, watching: boolean): Verdict | undefined {
    if (verdict === 'passed') return 'passed'
    if (this.#marks >= (watching ? MARKS.watch : MARKS.else)) return 'dropped'
    // Nothing is doubted yet: the next look is soon enough.
    const atRest = watching && this.#marks === 0
    return atRest || this.#rounds >= MOST_ROUNDS ? 'unclear' : undefined
  }

  #begin(state: PathState): void {
    this.#state = state
    this.#marks = 0
    this.#rounds = 0
  }
}

/** A small echo that is lost takes back what a large one said: it may be the same loss. */
const WEIGHT: Readonly<Record<Verdict, number>> = { passed: 0, dropped: 1, unclear: -1 }

const verdictOf = ({ missing, tokens }: { readonly missing: ReadonlySet<bigint>; readonly tokens: Round }): Verdict =>
  tokens.small.some(token => missing.has(token)) ? 'unclear' : 'dropped'
