import { clip } from '#src/cluster/hostile.ts'
import type { GuardMode } from '#src/mesh/guard.ts'
import type { PairState, Tally } from './tally.ts'

/** What ends each message. */
export interface SignedBy {
  readonly guard: GuardMode
  /** Of Podveil. */
  readonly version: string
}

/** The message of the Node condition, for people, and yet to be read back: `status` sees other nodes by it alone. */
export interface ConditionText extends SignedBy {
  readonly encrypted: number
  readonly peers: number
  /** What is wrong with which peers, as text; empty when nothing is. */
  readonly trouble: string
}

/** Named in one message; the others are counted. */
const MOST_NAMED = 3

const WORDS: Readonly<Record<PairState['state'], string>> = {
  clear: 'in clear',
  silent: 'not answering',
  joining: 'joining',
  encrypted: 'encrypted',
}

/** `3 of 4 peers encrypted; in clear: node-2 (IPv4: no handshake yet); guard audit; podveil 0.1.0` */
export function conditionText({ encrypted, peers, others }: Tally, by: SignedBy): string {
  const groups = Map.groupBy(others, ({ state }) => state)
  const troubles = [...groups].map(([state, pairs]) => `${WORDS[state]}: ${listPairs(pairs)}`)
  return [`${encrypted} of ${peers} peers encrypted`, ...troubles, signature(by)].join('; ')
}

/** Of a node on which encryption is off. */
export const offText = (by: SignedBy): string => `encryption is off; ${signature(by)}`

const signature = ({ guard, version }: SignedBy): string => `guard ${guard}; podveil ${version}`

function listPairs(pairs: readonly PairState[]): string {
  // A semicolon ends what is said of one state.
  const named = pairs
    .slice(0, MOST_NAMED)
    .map(({ node, reason }) => `${node} (${clip(reason, 120).replaceAll(';', ',')})`)
  const more = pairs.length - named.length
  return more > 0 ? `${named.join(', ')} and ${more} more` : named.join(', ')
}

/** @returns undefined for what no agent has written */
export function readConditionText(text: string): ConditionText | undefined {
  const whole =
    /^(?:(\d{1,7}) of (\d{1,7}) peers encrypted|encryption is off)(?:; (.*))?; guard (off|audit|enforce); podveil (\S{1,64})$/.exec(
      text,
    )
  if (!whole) return undefined
  const [, encrypted, peers, trouble = '', guard, version = ''] = whole
  return { encrypted: Number(encrypted ?? 0), peers: Number(peers ?? 0), trouble, guard: guard as GuardMode, version }
}
