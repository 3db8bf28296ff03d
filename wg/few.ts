/**
 * A list of a few things, each once, that is never changed in place. Nearly always it has one: then it takes 56 bytes, where a
 * Set takes 150, and there are dozens of them for each node of a mesh. Its array is as long as it is: one that something was
 * pushed to, as filter() and literals with more behind a spread do, keeps room for 17.
 */
export type Few<T> = readonly T[]

/** Those that there are. */
export function few<T>(values: Iterable<T | undefined>): Few<T> {
  const found = new Set<T>()
  for (const value of values) if (value !== undefined) found.add(value)
  return found.size === 0 ? NONE : [...found]
}

export const withOne = <T>(list: Few<T>, value: T): Few<T> => (list.includes(value) ? list : list.concat([value]))

export function withoutOne<T>(list: Few<T>, value: T): Few<T> {
  const at = list.indexOf(value)
  if (at < 0) return list
  return list.length === 1 ? NONE : list.toSpliced(at, 1)
}

/** Whether two have the same in the same order. */
export const sameFew = <T>(a: Few<T>, b: Few<T>): boolean =>
  a === b || (a.length === b.length && a.every((value, at) => value === b[at]))

/** One for all that have none. */
export const NONE: readonly never[] = Object.freeze([])
