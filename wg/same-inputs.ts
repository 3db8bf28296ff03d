/** Whether two lists hold the same things, by identity, in the same places. A loop, as it is run for each peer in each pass. */
export function sameInputs(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false
  return true
}
