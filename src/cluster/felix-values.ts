import { isObject, quote } from './hostile.ts'

/** Where a value was written: a resource's spec has durations, the environment and annotations have seconds. */
export type ValueForm = 'spec' | 'text'

/** Parsers of Felix's parameter types. Each throws a RangeError whose message ends a sentence that begins with the value. */
export type Parse<T> = (raw: unknown, form: ValueForm) => T

/** Felix's word for the zero value, where it has one. */
const isNone = (text: string): boolean => text.toLowerCase() === 'none'

const refuse = (problem: string): never => {
  throw new RangeError(problem)
}

/** Numbers and booleans of a spec as the text that the environment would have. */
function textOfValue(raw: unknown): string {
  if (typeof raw === 'string') return raw.trim()
  if (typeof raw === 'boolean' || typeof raw === 'number') return String(raw)
  return refuse('is not a text, a number or a truth value')
}

const TRUE: readonly string[] = ['true', '1', 'yes', 'y', 't']
const FALSE: readonly string[] = ['false', '0', 'no', 'n', 'f', 'none']

export const boolean: Parse<boolean> = raw => {
  const text = textOfValue(raw).toLowerCase()
  if (TRUE.includes(text)) return true
  if (FALSE.includes(text)) return false
  return refuse('is neither true nor false')
}

/** A whole number in decimal, 0x, 0o, 0b or with a leading zero for octal. `none` is 0, and refused where 0 is. */
export function integer(ranges: readonly (readonly [least: number, most: number])[]): Parse<number> {
  const wanted = ranges.map(([least, most]) => (least === most ? `${least}` : `from ${least} to ${most}`)).join(' or ')
  return raw => {
    const text = textOfValue(raw).toLowerCase()
    const number = isNone(text) ? 0 : parseInteger(text)
    return ranges.some(([least, most]) => number >= least && number <= most)
      ? number
      : refuse(`is not a whole number ${wanted}`)
  }
}

function parseInteger(text: string): number {
  const digits = text.replace(/^\+/, '')
  if (/^(0|[1-9]\d{0,15}|0x[0-9a-f]{1,13}|0o[0-7]{1,17}|0b[01]{1,53})$/.test(digits)) return Number(digits)
  return /^0[0-7]{1,17}$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600 }

/** Seconds: `25s` or `1m30s` in a spec, `25` or `0.5` elsewhere. @param most seconds */
export function seconds(most: number): Parse<number> {
  return (raw, form) => {
    const text = textOfValue(raw)
    const value = isNone(text) ? 0 : form === 'spec' ? durationSeconds(text) : plainSeconds(text)
    if (Number.isNaN(value))
      return refuse(form === 'spec' ? 'is not a duration such as 25s' : 'is not a number of seconds')
    return value >= 0 && value <= most ? value : refuse(`is not from 0 to ${most} seconds`)
  }
}

/** Go's form of a duration, in seconds; NaN for anything else. */
export function durationSeconds(text: string): number {
  if (text === '0') return 0
  if (!/^(\d{1,12}(\.\d{1,12})?(ms|s|m|h))+$/.test(text)) return Number.NaN
  let total = 0
  for (const [, number, unit = ''] of text.matchAll(/([\d.]+)(ms|s|m|h)/g))
    total += Number(number) * (UNIT_SECONDS[unit] ?? 0)
  return total
}

const plainSeconds = (text: string): number =>
  /^[+-]?(\d{1,12}(\.\d{0,12})?|\.\d{1,12})(e[+-]?\d{1,2})?$/i.test(text) ? Number(text) : Number.NaN

/** Names that Felix takes, less those that the kernel or /proc/sys/net would take for something else. */
export const interfaceName: Parse<string> = raw => {
  const text = textOfValue(raw)
  if (!/^[a-zA-Z0-9._+-]{1,15}$/.test(text)) return refuse('is not an interface name: 1 to 15 of a-z A-Z 0-9 . _ + -')
  return ['.', '..', 'all', 'default', 'lo', 'none'].includes(text.toLowerCase())
    ? refuse('is not usable as an interface name')
    : text
}

/** Bits of a packet mark. Felix needs at least two. */
export const markMask: Parse<number> = raw => {
  const mask = integer([[1, 0xffffffff]])(raw, 'text')
  const bits = mask.toString(2).replaceAll('0', '').length
  return bits >= 2 ? mask : refuse('has fewer than two bits')
}

/** One of these words, in any case. @param words by the word in lower case */
export function oneOf<T>(words: Readonly<Record<string, T>>): Parse<T> {
  const table = new Map(Object.entries(words))
  return raw => table.get(textOfValue(raw).toLowerCase()) ?? refuse(`is not one of ${[...table.keys()].join(', ')}`)
}

const LONGEST_PATTERN = 512
/** Characters of an interface name. */
const LONGEST_NAME = 15
/** That a pattern can be tried on a name in: a matter of milliseconds. */
const MOST_WAYS = 1_000_000

/** A regular expression of Go's kind, as far as JavaScript has the same. */
export const pattern: Parse<RegExp> = raw => {
  const text = textOfValue(raw)
  if (isNone(text)) return /^$/
  if (text.length > LONGEST_PATTERN) return refuse(`is longer than ${LONGEST_PATTERN} characters`)
  if (waysOf(text) > MOST_WAYS)
    return refuse(
      'may take for ever to match: use fewer repetitions and alternatives, and none in a group that is repeated',
    )
  const caseless = text.startsWith('(?i)')
  try {
    return new RegExp(caseless ? text.slice(4) : text, caseless ? 'i' : '')
  } catch {
    return refuse('is not a regular expression')
  }
}

const REPETITION = /^(?:[*+?]|\{\d+(?:,\d*)?\})/

/** Go matches in time that is proportional to the text. JavaScript tries one way after the other: how many there are at most. */
function waysOf(text: string): number {
  /** Of each group that is open. */
  const groups = [{ alternatives: 1, repeats: false }]
  let ways = 1
  let repetitions = 0
  for (let rest = text; rest !== ''; ) {
    // A group's kind, `(?:`, is no repetition.
    const [token = ''] = /^(?:\\.|\[(?:\\.|[^\]\\])*\]|\(\??|.)/s.exec(rest) ?? []
    rest = rest.slice(token.length)
    const [repetition] = token.startsWith('(') ? [] : (REPETITION.exec(rest) ?? [])
    if (token.startsWith('(')) groups.push({ alternatives: 1, repeats: false })
    const closed = token === ')' ? groups.pop() : undefined
    const varies = closed !== undefined && (closed.repeats || closed.alternatives > 1)
    const group = groups.at(-1)
    // More is closed than was opened: no expression.
    if (!group) return ways
    if (varies && repetition !== undefined && repetition !== '?') return Number.POSITIVE_INFINITY
    if (token === '|') ways *= ++group.alternatives / (group.alternatives - 1)
    group.repeats ||= varies || repetition !== undefined
    if (repetition === undefined) continue
    // As many as so many repetitions can share the name's characters among them.
    ways *= (LONGEST_NAME + ++repetitions) / repetitions
    rest = rest.slice(repetition.length).replace(/^\?/, '')
  }
  return ways
}

export interface TableRange {
  readonly min: number
  readonly max: number
}

const LARGEST_TABLE = 0xffffffff
const MOST_RANGES = 64

/** A list of {min, max} in a spec; `1-250,300-400` elsewhere. `none` is an empty list. */
export const tableRanges: Parse<readonly TableRange[]> = (raw, form) => {
  if (form === 'text') {
    const text = textOfValue(raw)
    return isNone(text) ? [] : bounded(text.split(',').map(rangeOfText))
  }
  return Array.isArray(raw) ? bounded(raw.map(rangeOfObject)) : refuse('is not a list of ranges')
}

/** One {min, max}, or `1-250`; the older field that takes one only. */
export const tableRange: Parse<readonly TableRange[]> = (raw, form) => {
  if (form === 'text') return isNone(textOfValue(raw)) ? [] : [rangeOfText(textOfValue(raw))]
  return [rangeOfObject(raw)]
}

const bounded = (ranges: TableRange[]): TableRange[] =>
  ranges.length <= MOST_RANGES ? ranges : refuse(`has more than ${MOST_RANGES} ranges`)

function rangeOfText(text: string): TableRange {
  const [, min, max] = /^\s*(\d{1,10})\s*-\s*(\d{1,10})\s*$/.exec(text) ?? []
  return checkedRange(min === undefined ? undefined : Number(min), max === undefined ? undefined : Number(max), text)
}

const rangeOfObject = (raw: unknown): TableRange =>
  isObject(raw) ? checkedRange(raw.min, raw.max, raw) : refuse('holds something that is not {min, max}')

function checkedRange(min: unknown, max: unknown, shown: unknown): TableRange {
  const whole = (value: unknown): value is number => typeof value === 'number' && Number.isInteger(value)
  if (!whole(min) || !whole(max) || min < 1 || max < min || max > LARGEST_TABLE)
    return refuse(`holds ${quote(shown)}, which is not a range of table numbers (1 ≤ min ≤ max)`)
  return { min, max }
}
