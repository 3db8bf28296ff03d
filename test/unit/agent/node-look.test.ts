import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { NodeLook } from '#src/agent/node-look.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import { ManualClock } from '../cluster/support/clocks.ts'
import { until } from '../cluster/support/until.ts'
import { name } from '../mesh/records.ts'

/** Looks at Nodes of which only the first two are there; time stands still. */
function looking() {
  const clock = new ManualClock()
  const seen: string[] = []
  const client = {
    get: async (path: string) => {
      if (!/node-[12]$/.test(path)) throw new ApiError(`GET ${path}`, 404, 'NotFound', 'not found')
      return { path }
    },
  }
  const look = new NodeLook({
    client,
    clock,
    random: () => 0,
    seen: (node, raw) => seen.push(`${node} ${raw === undefined ? 'gone' : 'there'}`),
  })
  return { look, clock, seen }
}

const turns = async (): Promise<void> => {
  for (let turns = 0; turns < 10; turns++) await turn()
}

test('what is asked for is read soon, each once, and what is not there is told as such', async () => {
  const { look, clock, seen } = looking()
  for (const index of [1, 2, 1, 3]) look.ask(name(index))
  await until('the wait', () => clock.pending === 1)
  expect(seen).toEqual([])
  clock.advance(300)
  await until('all', () => seen.length === 3)
  expect(seen).toEqual(['node-1 there', 'node-2 there', 'node-3 gone'])
  await look.stop()
})

test('what is kept an eye on is read in turn, one every ten seconds or so, until it is forgotten', async () => {
  const { look, clock, seen } = looking()
  for (const index of [1, 2]) look.keepAnEyeOn(name(index))
  for (const count of [1, 2, 3]) {
    await until('the wait', () => clock.pending === 1)
    clock.advance(8_000)
    await until('the look', () => seen.length === count)
  }
  expect(seen).toEqual(['node-1 there', 'node-2 there', 'node-1 there'])
  for (const index of [1, 2]) look.forget(name(index))
  await look.stop()
})

test('what is forgotten before its turn is not read, and nothing waits for it', async () => {
  const { look, clock, seen } = looking()
  look.ask(name(1))
  await until('the wait', () => clock.pending === 1)
  look.forget(name(1))
  clock.advance(300)
  await turns()
  expect(clock.pending).toBe(0)
  expect(seen).toEqual([])
})

test('what is asked for is put off though another is kept an eye on, and is not looked at again at once', async () => {
  const { look, clock, seen } = looking()
  look.keepAnEyeOn(name(2))
  await until('the wait', () => clock.pending === 1)
  look.ask(name(1))
  await turns()
  expect(seen).toEqual([])
  clock.advance(20)
  await until('the look', () => seen.length === 1)
  look.ask(name(1))
  await turns()
  clock.advance(900)
  await turns()
  expect(seen).toEqual(['node-1 there'])
  clock.advance(100)
  await until('the second look', () => seen.length === 2)
  await look.stop()
})

test('it stops at once, whatever it waits for', async () => {
  const { look, clock } = looking()
  look.ask(name(1))
  look.keepAnEyeOn(name(2))
  await until('the wait', () => clock.pending === 1)
  await look.stop()
  expect(clock.pending).toBe(0)
})
