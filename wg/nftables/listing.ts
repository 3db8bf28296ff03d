import { IpFormatError, parseExactCidr } from '../ip.ts'
import { sameSet } from '../same-set.ts'
import { TABLE, textOf } from './ruleset.ts'

/** What a table holds, as far as whoever changes it must know. */
export interface TableListing {
  /** What nft lists of it, but for elements and counts. */
  readonly frame: string
  /** Sets, chains, counters and whatever else somebody has put there. */
  readonly objects: readonly { readonly kind: string; readonly name: string }[]
  /** Elements of each set: a single address has no length. */
  readonly elements: ReadonlyMap<string, Set<string>>
}

/** @param text as `nft list table` prints it; what is not understood stays in the frame */
export function parseListing(text: string): TableListing {
  const objects = [...text.matchAll(/^\t(\w+) (\S+) \{$/gm)].map(([, kind = '', name = '']) => ({
    kind,
    name: apart(name),
  }))
  const elements = new Map<string, Set<string>>()
  const frame = text.replaceAll(SET, (_, head: string, name: string, body: string) => {
    const listed = ELEMENTS.exec(body)?.[1] ?? ''
    // Whatever follows the element itself, such as a comment, is no part of its name.
    const words = listed.split(',').map(element => element.trim().split(/\s/, 1)[0] ?? '')
    elements.set(apart(name), new Set(words.filter(word => word !== '').map(word => apart(asWritten(word)))))
    return `${head}${body.replace(ELEMENTS, '')}\t}`
  })
  return { frame: withoutCounts(frame), objects, elements }
}

/** nft has the last 32 bits of some IPv6 addresses in decimal, as inet_ntop(3) does: `::10.0.0.0/104`. */
function asWritten(word: string): string {
  if (!word.includes(':') || !word.includes('.')) return word
  try {
    return textOf(parseExactCidr(word.includes('/') ? word : `${word}/128`))
  } catch (error) {
    // Somebody else's interval.
    if (error instanceof IpFormatError) return word
    throw error
  }
}

/** The same without the whole text of which it is a part, which would be kept for it. */
const apart = (word: string): string => Buffer.from(word).toString()

const SET = /^(\tset (\S+) \{\n)(.*?)^\t\}$/gms
const ELEMENTS = /^\t\telements = \{(.*?)\}\n/ms

/** As nft might have listed it, without counts; where it breaks lines, and in what order elements come, is its own affair. */
export const formatListing = ({ frame, elements }: TableListing): string =>
  frame.replaceAll(SET, (_, head: string, name: string, body: string) => {
    const listed = [...(elements.get(name) ?? [])].join(', ')
    return `${head}${body}${listed === '' ? '' : `\t\telements = { ${listed} }\n`}\t}`
  })

/** Whether two tables are the same but for their counts. */
export const sameListing = (a: TableListing | undefined, b: TableListing | undefined): boolean =>
  a === b ||
  (a?.frame === b?.frame &&
    (a?.elements.entries().every(([set, all]) => sameSet(all, b?.elements.get(set) ?? NONE)) ?? true))

const NONE: ReadonlySet<string> = new Set()

/** Counters grow by themselves, so they are no part of what is compared. */
const withoutCounts = (text: string): string => text.replaceAll(/packets \d+ bytes \d+/g, '')

/** Commands that take away what is there and is not declared. To be run when no rule refers to anything any more. */
export function removeStrangers({ objects }: TableListing, structure: string): string {
  const declared = new Set([...structure.matchAll(/^ {2}(\w+) (\S+) \{/gm)].map(([, kind, name]) => `${kind} ${name}`))
  const strangers = objects.filter(({ kind, name }) => !declared.has(`${kind} ${name}`))
  // A map may refer to a chain, so chains go last.
  const inOrder = strangers.toSorted((a, b) => Number(a.kind === 'chain') - Number(b.kind === 'chain'))
  return inOrder.map(({ kind, name }) => `delete ${kind} inet ${TABLE} ${name}\n`).join('')
}
