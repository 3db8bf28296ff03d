import { TABLE } from './ruleset.ts'

/** What a table holds, as far as whoever changes it must know. */
export interface TableListing {
  /** Sets, chains, counters and whatever else somebody has put there. */
  readonly objects: readonly { readonly kind: string; readonly name: string }[]
  /** Elements of each set, as nft writes them: a single address has no length. */
  readonly elements: ReadonlyMap<string, ReadonlySet<string>>
}

/** @param text as `nft list table` prints it; what is not understood is left out */
export function parseListing(text: string): TableListing {
  const objects = [...text.matchAll(/^\t(\w+) (\S+) \{$/gm)].map(([, kind = '', name = '']) => ({ kind, name }))
  const elements = new Map<string, ReadonlySet<string>>()
  for (const [, name = '', body = ''] of text.matchAll(/^\tset (\S+) \{\n(.*?)^\t\}$/gms)) {
    const listed = /elements = \{(.*?)\}/s.exec(body)?.[1] ?? ''
    // Whatever follows the element itself, such as a comment, is no part of its name.
    const words = listed.split(',').map(element => element.trim().split(/\s/, 1)[0] ?? '')
    elements.set(name, new Set(words.filter(word => word !== '')))
  }
  return { objects, elements }
}

/** Counters grow by themselves, so they are no part of what is compared. */
export const withoutCounts = (text: string): string => text.replaceAll(/packets \d+ bytes \d+/g, '')

/** Commands that take away what is there and is not declared. To be run when no rule refers to anything any more. */
export function removeStrangers({ objects }: TableListing, structure: string): string {
  const declared = new Set([...structure.matchAll(/^ {2}(\w+) (\S+) \{/gm)].map(([, kind, name]) => `${kind} ${name}`))
  const strangers = objects.filter(({ kind, name }) => !declared.has(`${kind} ${name}`))
  // A map may refer to a chain, so chains go last.
  const inOrder = strangers.toSorted((a, b) => Number(a.kind === 'chain') - Number(b.kind === 'chain'))
  return inOrder.map(({ kind, name }) => `delete ${kind} inet ${TABLE} ${name}\n`).join('')
}
