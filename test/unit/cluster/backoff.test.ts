import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Backoff } from '#src/cluster/backoff.ts'
import { sleep, systemClock, Watchdog } from '#src/cluster/clock.ts'
import { ManualClock } from './support/clocks.ts'

it('waits 0.8 to 1.6 s at first, doubles, and never waits longer than 30 s', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), random => {
      const backoff = new Backoff(new ManualClock(), () => random)
      const delays = Array.from({ length: 40 }, () => backoff.failed())
      expect(delays[0]).toBeGreaterThanOrEqual(800)
      expect(delays[0]).toBeLessThanOrEqual(1_600)
      delays.forEach((delay, i) => {
        expect(delay).toBeLessThanOrEqual(30_000)
        expect(delay).toBeGreaterThanOrEqual(delays[i - 1] ?? 0)
      })
      expect(delays.at(-1)).toBeGreaterThanOrEqual(15_000)
    }),
  )
})

it('begins anew after two healthy minutes, and not after less', () => {
  const clock = new ManualClock()
  const backoff = new Backoff(clock, () => 0)
  for (let i = 0; i < 10; i++) backoff.failed()
  backoff.succeeded()
  clock.advance(119_000)
  expect(backoff.failed()).toBe(15_000)
  backoff.succeeded()
  clock.advance(60_000)
  backoff.succeeded()
  clock.advance(60_000)
  expect(backoff.failed()).toBe(800)
})

it('does not let a server that is well for moments only be asked in a hot loop', () => {
  const clock = new ManualClock()
  const backoff = new Backoff(clock, () => 0)
  for (let i = 0; i < 10; i++) {
    backoff.succeeded()
    clock.advance(5_000)
    backoff.failed()
  }
  expect(backoff.failures).toBe(10)
})

it('sleeps until its time or until it is aborted, and leaves nothing behind', async () => {
  const clock = new ManualClock()
  const abort = new AbortController()
  const [timed, aborted] = [sleep(clock, 100, new AbortController().signal), sleep(clock, 1e9, abort.signal)]
  clock.advance(100)
  await timed
  abort.abort()
  await aborted
  await sleep(clock, 1e9, abort.signal)
  expect(clock.pending).toBe(0)
  await sleep(systemClock, 1, new AbortController().signal)
})

it('notices silence on time however often it was touched before', () => {
  const clock = new ManualClock()
  let silentAt: number | undefined
  const watchdog = new Watchdog(clock, 1_000, () => {
    silentAt = clock.now()
  })
  for (let i = 0; i < 10; i++) {
    clock.advance(700)
    watchdog.touch()
  }
  clock.advance(999)
  expect(silentAt).toBeUndefined()
  clock.advance(1)
  expect(silentAt).toBe(8_000)
  watchdog.stop()
})
