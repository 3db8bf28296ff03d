import { textOf } from './hostile.ts'

/** Unix time in seconds of a metadata.creationTimestamp; undefined for what is none. */
export function birthDate(value: unknown): number | undefined {
  const text = textOf(value, 64)
  const ms = text === undefined ? Number.NaN : Date.parse(text)
  return ms >= 0 ? Math.floor(ms / 1000) : undefined
}
