import { byName } from './format.ts'
import type { MeshNode, MeshStatus } from './mesh-status.ts'

/** How one pair of nodes is doing, by what both publish; the worst first. */
export const PAIR_STATES = ['in clear', 'not answering', 'unknown', 'turning', 'encrypted', 'off'] as const
export type MeshPairState = (typeof PAIR_STATES)[number]

export interface MeshPair {
  readonly a: string
  readonly b: string
  readonly state: MeshPairState
  /** What either says of the other; empty where nothing is wrong. */
  readonly why: string
}

export interface MeshGraph {
  /** By name. */
  readonly nodes: readonly MeshNode[]
  readonly pairs: readonly MeshPair[]
  /** Encrypted pairs that were left out, so that what is wrong can be seen. */
  readonly hidden: number
}

/** More nodes than these have too many pairs to draw: then only those that are not encrypted are. */
const MOST_DRAWN = 40

/** The mesh as nodes and pairs. @param mostDrawn nodes up to which every pair is there */
export function meshGraph({ nodes }: MeshStatus, mostDrawn = MOST_DRAWN): MeshGraph {
  const sorted = [...nodes].sort((a, b) => byName(a.name, b.name))
  const all = sorted.flatMap((a, i) => sorted.slice(i + 1).map(b => pairOf(a, b)))
  const pairs = sorted.length <= mostDrawn ? all : all.filter(({ state }) => state !== 'encrypted' && state !== 'off')
  return { nodes: sorted, pairs, hidden: all.length - pairs.length }
}

function pairOf(a: MeshNode, b: MeshNode): MeshPair {
  const said = [saidOf(a, b.name), saidOf(b, a.name)]
  const [worst = { state: 'unknown', why: '' }] = said.sort(
    (one, other) => PAIR_STATES.indexOf(one.state) - PAIR_STATES.indexOf(other.state),
  )
  return { a: a.name, b: b.name, ...worst }
}

type Said = Pick<MeshPair, 'state' | 'why'>

/** What one node says of another; it names those that are not encrypted, up to a number. */
function saidOf(node: MeshNode, other: string): Said {
  switch (node.state) {
    case 'off':
      return { state: 'off', why: '' }
    case 'no agent':
      return { state: 'in clear', why: `${node.name}: ${node.why}` }
    case 'calico':
    case 'unknown':
      return { state: 'unknown', why: `${node.name}: ${node.why}` }
    case 'in clear':
    case 'not answering':
    case 'turning':
    case 'encrypted': {
      const named = mentionOf(node.why, other)
      if (named) return { ...named, why: `${node.name}: ${named.why}` }
      if (node.encryptedPeers === null) return { state: 'in clear', why: `${node.name}: ${node.why}` }
      const unnamed = / and \d+ more/.test(node.why)
      return unnamed
        ? { state: 'unknown', why: `${node.name} names only some of those that it does not encrypt to` }
        : { state: 'encrypted', why: '' }
    }
  }
}

const STATE_OF = { 'in clear': 'in clear', joining: 'turning', 'not answering': 'not answering' } as const

/** Of `in clear: node-2 (IPv4: no handshake yet), …; joining: …`, what is said of one node. */
export function mentionOf(why: string, node: string): Said | undefined {
  for (const part of why.split('; ')) {
    const [, words = '', list = ''] = /^(in clear|joining|not answering): (.*)$/.exec(part) ?? []
    const at = ` ${list}`.indexOf(` ${node} (`)
    if (words === '' || at < 0) continue
    const reason = /\(([^)]*)\)/.exec(list.slice(at))?.[1] ?? 'no reason is given'
    return { state: STATE_OF[words as keyof typeof STATE_OF], why: reason }
  }
  return undefined
}
