import { waitUntil } from '#src/lab/wait.ts'

/**
 * Waits until the condition holds. What it throws, such as a failed expectation, counts as "not yet" and is quoted when
 * the limit has passed.
 * @param describe completes "timed out waiting for …"
 */
export const waitFor = <T>(
  condition: () => T | Promise<T>,
  limitMs: number,
  describe: string,
): Promise<Exclude<T, false | undefined>> => waitUntil(condition, limitMs, describe)
