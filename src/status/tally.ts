import type { Phase } from '#src/mesh/peer-machine.ts'
import { AT_A_TIME, atOnce } from '#wg/slices.ts'

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

/**
 * Counts nodes, not pairs of families: a peer is as good as its worst family.
 * @param nodes what is known of each, one fact at least
 */
export const tallyOf = (nodes: Iterable<readonly PairFact[]>): Tally => atOnce(tallyInSteps(nodes))

/** The same, in steps. */
export function* tallyInSteps(nodes: Iterable<readonly PairFact[]>): Generator<undefined, Tally> {
  // Of thousands that encrypt nothing has to be remembered.
  const others: PairState[] = []
  let peers = 0
  for (const facts of nodes) {
    if (++peers % AT_A_TIME === 0) yield
    const [worst] = facts.map(fact => ({ fact, state: stateOf(fact) })).sort((a, b) => badness(a) - badness(b))
    if (!worst || worst.state === 'encrypted') continue
    const { fact, state } = worst
    others.push({ node: fact.node, state, reason: `IPv${fact.family}: ${reasonOf(fact)}` })
  }
  others.sort((a, b) => badness(a) - badness(b) || (a.node < b.node ? -1 : 1))
  return { peers, encrypted: peers - others.filter(({ state }) => state !== 'silent').length, others }
}

const badness = ({ state }: Pick<PairState, 'state'>): number => WORST_FIRST.indexOf(state)

function stateOf({ phase, overdue, silent }: PairFact): PairState['state'] {
  if (phase === 'encrypting') return silent ? 'silent' : 'encrypted'
  return overdue ? 'clear' : 'joining'
}

const reasonOf = ({ silent, reason }: PairFact): string => (silent ? SILENT : reason)
