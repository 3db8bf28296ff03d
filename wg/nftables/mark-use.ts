/** What of nft's JSON (libnftables-json(5)) this looks at; anything may be in there. */
type Json = Readonly<Record<string, unknown>>

/**
 * Who else looks at or changes a bit of the packets' or the connections' mark. What xtables extensions do is opaque to nft, and
 * a mark that is copied whole says nothing of its bits: neither is found.
 * @param listing as `nft -j list ruleset` gives it; what is not understood is passed over
 * @param ours name of the tables that are left out
 * @returns such as `chain output of table ip filter`, each once
 */
export function markUses(listing: unknown, mark: number, ours: string): string[] {
  const objects = isObject(listing) && Array.isArray(listing.nftables) ? listing.nftables : []
  const uses = new Set<string>()
  for (const object of objects) {
    const rule = isObject(object) && isObject(object.rule) ? object.rule : undefined
    if (!rule || rule.table === ours || !Array.isArray(rule.expr)) continue
    if (rule.expr.some(statement => (bitsOf(statement) & mark) !== 0))
      uses.add(`chain ${rule.chain} of table ${rule.family} ${rule.table}`)
  }
  return [...uses]
}

/** Bits of a mark that a statement depends on, or may change. */
function bitsOf(statement: unknown): number {
  if (!isObject(statement)) return 0
  const { mangle, match, vmap } = statement
  if (isObject(mangle) && isMark(mangle.key)) return written(mangle.value)
  if (isObject(match)) return looked(match.left, match.right)
  if (isObject(vmap) && isObject(vmap.data)) return looked(vmap.key, vmap.data)
  return 0
}

/** Of a mark that is given this value: what is kept of the mark before is not touched. */
function written(value: unknown): number {
  if (typeof value === 'number') return value
  const { operator, left, right } = operation(value)
  if (operator === undefined) return 0
  return (operator === '&' ? ~right : right) | written(left)
}

function looked(left: unknown, right: unknown): number {
  if (isMark(left)) return numbersIn(right)
  const { operator, left: inner, right: mask } = operation(left)
  return operator === '&' && isMark(inner) ? mask : 0
}

/** A set's or a map's numbers as well; of a range its ends. */
function numbersIn(value: unknown): number {
  if (typeof value === 'number') return value
  if (Array.isArray(value)) return value.reduce<number>((bits, one) => bits | numbersIn(one), 0)
  return isObject(value) ? numbersIn(value.set ?? value.range) : 0
}

function operation(value: unknown): { readonly operator?: string; readonly left?: unknown; readonly right: number } {
  for (const operator of ['&', '|', '^']) {
    const operands = isObject(value) ? value[operator] : undefined
    if (Array.isArray(operands) && typeof operands[1] === 'number')
      return { operator, left: operands[0], right: operands[1] }
  }
  return { right: 0 }
}

function isMark(expression: unknown): boolean {
  if (!isObject(expression)) return false
  return [expression.meta, expression.ct].some(one => isObject(one) && one.key === 'mark')
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)
