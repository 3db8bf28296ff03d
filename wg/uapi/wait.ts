import { setTimeout as delay } from 'node:timers/promises'

/** Milliseconds between two looks. */
const INTERVAL = 10

/**
 * Waits for what nobody announces: a process that comes or goes.
 * @param limit milliseconds
 * @returns whether it came to be true within the limit
 */
export async function waitUntil(condition: () => Promise<boolean>, limit: number): Promise<boolean> {
  const deadline = performance.now() + limit
  while (!(await condition())) {
    if (performance.now() >= deadline) return false
    await delay(INTERVAL)
  }
  return true
}
