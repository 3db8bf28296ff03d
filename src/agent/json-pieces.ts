/** A list is taken apart from so many elements on. */
const LONG = 32

/** Characters of a piece, as far as no element is longer. */
const PIECE = 65_536

/** JSON of a value in pieces, each element of a long list on a line of its own: of a large mesh it is megabytes. */
export function* jsonPieces(value: unknown): Generator<string> {
  let piece = ''
  for (const part of parts(value)) {
    piece += part
    if (piece.length < PIECE) continue
    yield piece
    piece = ''
  }
  yield `${piece}\n`
}

function* parts(value: unknown): Generator<string> {
  if (Array.isArray(value)) yield* list(value)
  else if (typeof value === 'object' && value !== null) yield* members(value)
  else yield JSON.stringify(value)
}

function* list(elements: readonly unknown[]): Generator<string> {
  const isLong = elements.length >= LONG
  let before = '['
  for (const element of elements) {
    yield before
    if (isLong) yield JSON.stringify(element)
    else yield* parts(element)
    before = ',\n'
  }
  yield elements.length === 0 ? '[]' : ']'
}

function* members(object: object): Generator<string> {
  let before = '{'
  for (const [name, value] of Object.entries(object)) {
    if (value === undefined) continue
    yield `${before}${JSON.stringify(name)}:`
    yield* parts(value)
    before = ',\n'
  }
  yield before === '{' ? '{}' : '}'
}
