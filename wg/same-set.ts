/** Whether two sets hold the same. */
export const sameSet = <T>(a: ReadonlySet<T>, b: ReadonlySet<T>): boolean =>
  a === b || (a.size === b.size && a.isSubsetOf(b))
