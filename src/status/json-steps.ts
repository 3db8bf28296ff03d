import { BYTES_AT_A_TIME } from '#wg/slices.ts'

/** Data of which long lists may be made while they are told, one entry at a time. */
export type Told<Data> = Data extends string | number | boolean | null | undefined
  ? Data
  : Data extends readonly (infer Item)[]
    ? Iterable<Item> | readonly Told<Item>[]
    : { readonly [Key in keyof Data]: Told<Data[Key]> }

/**
 * Data as JSON, in pieces: those of an iterable that is no array are its entries, each of which is told whole. They make up
 * what JSON.stringify() gives where all lists are arrays.
 */
export function* jsonInSteps(data: unknown): Generator<string, void> {
  if (typeof data !== 'object' || data === null) yield JSON.stringify(data) ?? 'null'
  else if (Array.isArray(data)) yield* enclosed('[]', data, entry => jsonInSteps(entry))
  else if (Symbol.iterator in data) yield* entriesInSteps(data as Iterable<unknown>)
  else
    yield* enclosed(
      '{}',
      Object.entries(data).filter(([, value]) => value !== undefined),
      fieldInSteps,
    )
}

/** Some at a time. */
function* entriesInSteps(entries: Iterable<unknown>): Generator<string, void> {
  let text = '['
  let before = ''
  for (const entry of entries) {
    text += before + JSON.stringify(entry)
    before = ','
    if (text.length < BYTES_AT_A_TIME) continue
    yield text
    text = ''
  }
  yield `${text}]`
}

function* fieldInSteps([key, value]: [string, unknown]): Generator<string, void> {
  yield `${JSON.stringify(key)}:`
  yield* jsonInSteps(value)
}

function* enclosed<Item>(
  [open, close]: '[]' | '{}',
  items: Iterable<Item>,
  tell: (item: Item) => Iterable<string>,
): Generator<string, void> {
  let before = open as string
  for (const item of items) {
    yield before
    yield* tell(item)
    before = ','
  }
  yield before === open ? `${open}${close}` : (close as string)
}
