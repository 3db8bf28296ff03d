import { setTimeout as delay } from 'node:timers/promises'
import { LabError } from './errors.ts'

/** Where work takes no time by the clock, looks would be most of what there is: PODVEIL_LAB_POLL_MS has fewer of them. */
const POLL_MS = Number(process.env.PODVEIL_LAB_POLL_MS ?? 20)
/** How much longer it waits than a look takes. */
const SHARE = 3
const LONGEST_MS = 1_000

/**
 * Looks again and again until the condition holds.
 * @param condition gives false or undefined for "not yet"; what it throws counts as "not yet" and is quoted at the end
 * @param limitMs how long to go on
 * @param what completes "timed out waiting for …"
 * @returns what the condition gave
 * @throws LabError when the limit has passed
 */
export async function waitUntil<T>(
  condition: () => T | Promise<T>,
  limitMs: number,
  what: string,
): Promise<Exclude<T, false | undefined>> {
  const deadline = performance.now() + limitMs
  let lastError: unknown
  for (;;) {
    const started = performance.now()
    try {
      const value = await condition()
      if (value !== false && value !== undefined) return value as Exclude<T, false | undefined>
      lastError = undefined
    } catch (error) {
      lastError = error
    }
    if (performance.now() >= deadline) {
      const why = lastError instanceof Error ? `: ${lastError.message}` : ''
      throw new LabError('ERR_LAB_TIMEOUT', `timed out after ${limitMs} ms waiting for ${what}${why}`, {
        cause: lastError,
      })
    }
    // A look that is dear, such as a process under emulation, must leave time to what is looked at; one that only waited for an
    // answer tells nothing of its price.
    await delay(Math.min(Math.max(POLL_MS, (performance.now() - started) * SHARE), LONGEST_MS))
  }
}
