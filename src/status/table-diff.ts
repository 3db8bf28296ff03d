import { parseListing, sameListing, type TableListing } from '#wg/nftables/listing.ts'
import { TABLE } from '#wg/nftables/ruleset.ts'
import type { KernelChange } from './kernel-diff.ts'

/** Elements of a set that are named one by one. */
const MOST_NAMED = 8

/**
 * What the agent would do to our nftables table.
 * @param wanted as nft lists it; empty for none
 * @param present the same of what is there; undefined for none
 */
export function tableDiff(wanted: string, present: string | undefined): KernelChange[] {
  const change = (op: KernelChange['op'], what: string): KernelChange => ({ family: null, op, what })
  const name = `nftables table inet ${TABLE}`
  if (wanted === '') return present === undefined ? [] : [change('remove', name)]
  if (present === undefined) return [change('add', `${name}, with its sets and chains`)]
  const listings = { wanted: parseListing(wanted), present: parseListing(present) }
  if (sameListing(listings.wanted, listings.present)) return []
  const [to, from] = [blocksOf(listings.wanted), blocksOf(listings.present)]
  const changes = [...to].flatMap(([title, body]) => {
    const held = from.get(title)
    return held ? bodyChanges(title, body, held) : [change('add', `${title} of ${name}`)]
  })
  const surplus = [...from.keys()].filter(title => !to.has(title)).map(title => change('remove', `${title} of ${name}`))
  const all = [...changes, ...elementChanges(listings.wanted, listings.present), ...surplus]
  // Something that these lines do not understand: the agent compares the whole, and so writes.
  return all.length > 0 ? all : [change('change', name)]
}

/** Statements of each set, chain and counter, as `chain guard_out` and the lines in it. */
function blocksOf({ frame }: TableListing): Map<string, string[]> {
  const blocks = new Map<string, string[]>()
  for (const [, title = '', body = ''] of frame.matchAll(/^\t(\w+ \S+) \{\n(.*?)^\t\}$/gms)) {
    const lines = body.split('\n')
    blocks.set(
      title,
      lines.map(line => line.trim()).filter(line => line !== ''),
    )
  }
  return blocks
}

function bodyChanges(title: string, wanted: readonly string[], present: readonly string[]): KernelChange[] {
  const line = (op: KernelChange['op'], text: string): KernelChange => ({ family: null, op, what: `${title}: ${text}` })
  const missing = without(wanted, present)
  const surplus = without(present, wanted)
  const moved = missing.length + surplus.length === 0 && wanted.some((text, i) => text !== present[i])
  return [
    ...missing.map(text => line('add', text)),
    ...surplus.map(text => line('remove', text)),
    ...(moved ? [line('change', 'order of the rules')] : []),
  ]
}

/** The same rule twice counts twice. */
function without(lines: readonly string[], others: readonly string[]): string[] {
  const left = [...others]
  return lines.filter(line => {
    const at = left.indexOf(line)
    if (at >= 0) left.splice(at, 1)
    return at < 0
  })
}

function elementChanges(wanted: TableListing, present: TableListing): KernelChange[] {
  return [...wanted.elements].flatMap(([set, elements]) => {
    const held = present.elements.get(set)
    // A set that is not there at all is told as such.
    if (!held) return []
    return [
      ...elementLine('add', set, elements.difference(held)),
      ...elementLine('remove', set, held.difference(elements)),
    ]
  })
}

function elementLine(op: KernelChange['op'], set: string, elements: ReadonlySet<string>): KernelChange[] {
  if (elements.size === 0) return []
  const more = elements.size > MOST_NAMED ? ` and ${elements.size - MOST_NAMED} more` : ''
  return [{ family: null, op, what: `set ${set}: ${[...elements].slice(0, MOST_NAMED).join(' ')}${more}` }]
}
