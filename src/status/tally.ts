import type { Phase } from '#src/mesh/peer-machine.ts'

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
export class PeerCount {
  #peers = 0
  // Of thousands that encrypt nothing has to be remembered.
  readonly #others: PairState[] = []

  /** @param facts what is known of one peer; of one of which nothing is known, nothing is counted */
  add(facts: Iterable<PairFact>): void {
    let worst: PairFact | undefined
    for (const fact of facts) if (!worst || badness(stateOf(fact)) < badness(stateOf(worst))) worst = fact
    if (!worst) return
    this.#peers++
    const state = stateOf(worst)
    if (state !== 'encrypted')
      this.#others.push({ node: worst.node, state, reason: `IPv${worst.family}: ${reasonOf(worst)}` })
  }

  end(): Tally {
    const [peers, others] = [this.#peers, this.#others]
    others.sort((a, b) => badness(a.state) - badness(b.state) || (a.node < b.node ? -1 : 1))
    return { peers, encrypted: peers - others.filter(({ state }) => state !== 'silent').length, others }
  }
}

const badness = (state: PairState['state']): number => WORST_FIRST.indexOf(state)

function stateOf({ phase, overdue, silent }: PairFact): PairState['state'] {
  if (phase === 'encrypting') return silent ? 'silent' : 'encrypted'
  return overdue ? 'clear' : 'joining'
}

const reasonOf = ({ silent, reason }: PairFact): string => (silent ? SILENT : reason)
