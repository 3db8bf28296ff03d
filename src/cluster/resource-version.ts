const DECIMAL = /^\d{1,30}$/

/** Whether one is of before another. They are opaque, but every server that there is counts: nothing is said of what is no decimal number. */
export function isOlder(resourceVersion: string, than: string | undefined): boolean {
  if (than === undefined || !DECIMAL.test(resourceVersion) || !DECIMAL.test(than)) return false
  return BigInt(resourceVersion) < BigInt(than)
}
