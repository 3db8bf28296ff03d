import { setImmediate as turn } from 'node:timers/promises'

/** Milliseconds of work after which everything else in the process has its turn. */
const SLICE = 10

/** What takes a microsecond or two is done so many times in one step: the clock itself takes a part of that. */
export const AT_A_TIME = 32

/** Bytes of what is taken apart, or made into text, in one step: a peer may have thousands of prefixes. */
export const BYTES_AT_A_TIME = 8_192

/** Takes steps to their end in one piece. */
export function atOnce<Result>(steps: Generator<unknown, Result>): Result {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/**
 * Takes steps to their end, with the event loop let in whenever they have taken ten milliseconds.
 * @param between called after each time that the loop was let in, before the next step
 */
export async function inSlices<Result>(
  steps: Generator<unknown, Result>,
  between: () => Promise<void> = async () => {},
): Promise<Result> {
  let began = performance.now()
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
    if (performance.now() - began < SLICE) continue
    await turn()
    await between()
    began = performance.now()
  }
}

/** As many at a time, in order. */
export function* chunks<Item>(items: readonly Item[], size: number): Generator<readonly Item[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size)
}
