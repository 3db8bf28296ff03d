import { stripVTControlCharacters, styleText } from 'node:util'

/** How a word is meant; a terminal shows it in colour. */
export type Tone = 'good' | 'warn' | 'bad' | 'faint' | 'strong'
export type Paint = (tone: Tone, text: string) => string

export const plain: Paint = (_, text) => text

const STYLES = { good: 'green', warn: 'yellow', bad: 'red', faint: 'dim', strong: 'bold' } as const

/** Colours where the stream is a terminal, and NO_COLOR does not speak against it. */
export const paintFor =
  (stream: NodeJS.WriteStream): Paint =>
  (tone, text) =>
    styleText(STYLES[tone], text, { stream })

/** What is not known. A column that holds nothing else is left out. */
export const UNKNOWN = '-'

/** Rows in aligned columns, the first one their heads, as kubectl prints them. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const shown = head.map((_, column) => rows.some(row => ![undefined, '', UNKNOWN].includes(row[column])))
  const kept = [head, ...rows].map(row => row.filter((_, column) => shown[column]))
  const widths = (kept[0] ?? []).map((_, column) => Math.max(...kept.map(row => widthOf(row[column] ?? ''))))
  const line = (row: readonly string[]) =>
    row.map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - widthOf(cell))).join('   ')
  return kept.map(row => line(row).trimEnd()).join('\n')
}

const widthOf = (text: string): number => stripVTControlCharacters(text).length

/** `45s`, `3m20s`, `5h`, `12d`, as kubectl has it. @param ms below zero, by clocks that differ, counts as none */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 120) return `${seconds}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`
  if (minutes < 180) return `${minutes}m`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`
}

/** Since an RFC 3339 time; unknown for null. @param now Unix time in milliseconds */
export const since = (time: string | null, now: number): string =>
  time === null ? UNKNOWN : duration(now - Date.parse(time))

/** `1.2 MiB`. */
export function bytes(count: number): string {
  let value = count
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`
}

/** `0.42 ms`, `12 ms`; unknown for null. */
export function roundTrip(seconds: number | null): string {
  if (seconds === null) return UNKNOWN
  const ms = seconds * 1000
  return `${ms < 10 ? ms.toFixed(2) : Math.round(ms)} ms`
}

/** `0 %`, `0.5 %`, `12 %`; one that is not nothing never looks like nothing. @param ratio 0 to 1 */
export function percent(ratio: number): string {
  const value = ratio * 100
  return `${value === 0 || value >= 10 ? Math.round(value) : Math.max(0.1, value).toFixed(1)} %`
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** `node-2` before `node-10`. */
export const byName = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true })

/** `1 node`, `2 nodes`. */
export const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`
