/** Reading of values that somebody else wrote: nothing here throws, whatever it is given. */

export type JsonObject = Readonly<Record<string, unknown>>

const EMPTY: JsonObject = Object.freeze({})

/** The value when it is a JSON object, else an empty one. */
export const objectOf = (value: unknown): JsonObject => (isObject(value) ? value : EMPTY)

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** The value when it is a string of at most `longest` characters. */
export const textOf = (value: unknown, longest: number): string | undefined =>
  typeof value === 'string' && value.length <= longest ? value : undefined

/** Own member of an object: what `__proto__` and `constructor` would find is not data. */
export const member = (object: JsonObject, name: string): unknown =>
  Object.hasOwn(object, name) ? object[name] : undefined

const SHOWN = 64

/** A value as a message may quote it: JSON on one line, cut to 64 characters. */
export function quote(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(clip(value, SHOWN))
  try {
    return clip(JSON.stringify(value) ?? String(value), SHOWN)
  } catch {
    return `a value of type ${typeof value}`
  }
}

/**
 * One line of at most `longest` characters: control characters become spaces, so that a log line stays one; those that turn
 * the direction of writing show as such, so that it says what it is.
 */
export function clip(text: string, longest: number): string {
  const cut = text.length > longest ? `${text.slice(0, longest)}…` : text
  return cut
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .replace(/\p{Bidi_Control}/gu, '\ufffd')
    .trim()
}

/** What an error says, on one line. */
export const messageOf = (error: unknown): string => clip(error instanceof Error ? error.message : String(error), 500)
