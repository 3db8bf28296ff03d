/** The same numbers from 0 to 1 each time: a linear congruential generator (Numerical Recipes). */
export function* dice(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    yield state / 2 ** 32
  }
}
