import { setTimeout } from 'node:timers/promises'

/** Waits for a condition, with a limit in milliseconds of real time. */
export async function until(what: string, condition: () => boolean, limitMs = 4_000): Promise<void> {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`)
    await setTimeout(2)
  }
}
