import { afterEach, expect, test, vi } from 'vitest'
import { atOnce, chunks, inSlices } from '#wg/slices.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** Steps of which each takes long. */
function* slowSteps(count: number): Generator<undefined, string> {
  for (let step = 0; step < count; step++) {
    const until = performance.now() + 12
    while (performance.now() < until);
    yield
  }
  return 'done'
}

function* quickSteps(): Generator<undefined, string> {
  for (let step = 0; step < 10; step++) yield
  return 'done'
}

/** Turns that the event loop takes while something is under way. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0
  let over = false
  const count = (): void => {
    if (over) return
    turns++
    setImmediate(count)
  }
  setImmediate(count)
  await work()
  over = true
  return turns
}

test('long work lets the event loop in after each of its slices', async () => {
  let between = 0
  const turns = await turnsDuring(async () => {
    const result = await inSlices(slowSteps(4), async () => {
      between++
    })
    expect(result).toBe('done')
  })
  expect(turns).toBeGreaterThanOrEqual(4)
  expect(between).toBe(4)
})

test('short work is done in one piece', async () => {
  // A machine that is busy with something else makes it no longer.
  vi.spyOn(performance, 'now').mockReturnValue(0)
  expect(await turnsDuring(() => inSlices(quickSteps()))).toBe(0)
})

test('what is done at once lets nothing in', async () => {
  expect(await turnsDuring(async () => atOnce(slowSteps(2)))).toBe(0)
})

test('chunks hold all items in order', () => {
  expect([...chunks([1, 2, 3, 4, 5], 2)]).toEqual([[1, 2], [3, 4], [5]])
  expect([...chunks([], 2)]).toEqual([])
})
