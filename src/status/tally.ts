import type { Phase } from '#src/mesh/peer-machine.ts'
import { atOnce } from '#wg/slices.ts'

/** Milliseconds that a peer may take to prove itself before it counts as in clear, and somebody should hear of it. */
export const PATIENCE = 30_000

export const SILENT = 'answers nothing that is sent to it: is UDP to its WireGuard port blocked?'

/** How one peer of a node is doing, over all families that are on. */
export interface PairState {
  readonly node: string
  /** `silent` is encrypted, and unanswered. */
  readonly state: 'encrypted' | 'silent' | 'joining' | 'clear'
  /** Why it is not simply encrypted. */
  readonly reason: string
}

/** What is known of one peer in one family. */
export interface PairFact {
  readonly node: string
  readonly family: 4 | 6
  readonly phase: Phase
  readonly reason: string
  /** It is not encrypted, and has had its time. */
  readonly overdue: boolean
  readonly silent: boolean
}

/** The peers of a node, counted. */
export interface Tally {
  readonly peers: number
  readonly encrypted: number
  /** All that are not simply encrypted, the worst first. */
  readonly others: readonly PairState[]
}

const WORST_FIRST: readonly PairState['state'][] = ['clear', 'silent', 'joining', 'encrypted']

/** Counts nodes, not pairs of families: a peer is as good as its worst family. */
export const tallyOf = (facts: Iterable<PairFact>): Tally => atOnce(tallyInSteps(facts))

/** The same, with a step for each fact. */
export function* tallyInSteps(facts: Iterable<PairFact>): Generator<undefined, Tally> {
  const worst = new Map<string, PairState>()
  for (const fact of facts) {
    const pair = { node: fact.node, state: stateOf(fact), reason: `IPv${fact.family}: ${reasonOf(fact)}` }
    const known = worst.get(fact.node)
    if (!known || badness(pair) < badness(known)) worst.set(fact.node, pair)
    yield
  }
  const pairs = [...worst.values()]
  return {
    peers: pairs.length,
    encrypted: pairs.filter(({ state }) => state === 'encrypted' || state === 'silent').length,
    others: pairs
      .filter(({ state }) => state !== 'encrypted')
      .sort((a, b) => badness(a) - badness(b) || (a.node < b.node ? -1 : 1)),
  }
}

const badness = ({ state }: PairState): number => WORST_FIRST.indexOf(state)

function stateOf({ phase, overdue, silent }: PairFact): PairState['state'] {
  if (phase === 'encrypting') return silent ? 'silent' : 'encrypted'
  return overdue ? 'clear' : 'joining'
}

const reasonOf = ({ silent, reason }: PairFact): string => (silent ? SILENT : reason)
