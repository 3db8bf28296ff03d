import { expect, test } from 'vitest'
import type { Watch } from '#src/agent/report-watch.ts'
import { accepting, encrypting, kernelPeer, node, watchAtOnce } from './peers.ts'

const NOTHING = new Map()
const silentSince = (watch: Watch) => watch.get(node(2))?.silentSince

/** Looks every ten seconds at a peer that has received and sent so much by then. */
function look(counters: readonly (readonly [rx: number, tx: number])[]): Watch {
  let watch: Watch = NOTHING
  counters.forEach(([rx, tx], i) => {
    watch = watchAtOnce(watch, new Map([[node(2), encrypting(2, 0)]]), new Map([kernelPeer(2, rx, tx)]), i * 10_000)
  })
  return watch
}

test('a peer is unproven when it has had its time, and not before', () => {
  const at = (now: number) => watchAtOnce(NOTHING, new Map([[node(2), accepting(2, 1_000)]]), NOTHING, now).get(node(2))
  expect(at(31_000)?.unproven).toBe(false)
  expect(at(31_001)?.unproven).toBe(true)
})

test('an absent peer is absent since it was first seen so', () => {
  const absent = new Map([[node(2), { phase: 'absent', reason: 'it announces no WireGuard key' } as const]])
  const first = watchAtOnce(NOTHING, absent, NOTHING, 5_000)
  expect(watchAtOnce(first, absent, NOTHING, 90_000).get(node(2))?.since).toBe(5_000)
})

test('what is sent and never answered is silence', () => {
  expect(
    silentSince(
      look([
        [100, 100],
        [100, 500],
        [100, 1000],
        [100, 1500],
      ]),
    ),
  ).toBe(10_000)
})

test('an answer ends it', () => {
  expect(
    silentSince(
      look([
        [100, 100],
        [100, 500],
        [100, 1000],
        [100, 1500],
        [200, 1500],
      ]),
    ),
  ).toBeUndefined()
})

test('an idle tunnel, one-way traffic inwards and lone keepalives are no silence', () => {
  expect(
    silentSince(
      look([
        [100, 100],
        [100, 100],
        [100, 100],
        [100, 100],
        [100, 100],
      ]),
    ),
  ).toBeUndefined()
  expect(
    silentSince(
      look([
        [100, 100],
        [500, 132],
        [900, 164],
        [1300, 196],
        [1700, 228],
      ]),
    ),
  ).toBeUndefined()
  expect(
    silentSince(
      look([
        [100, 100],
        [100, 132],
        [100, 132],
        [100, 164],
        [100, 164],
        [100, 196],
      ]),
    ),
  ).toBeUndefined()
})

test('a device that was made anew begins anew', () => {
  expect(
    silentSince(
      look([
        [100, 5000],
        [100, 6000],
        [100, 7000],
        [0, 148],
        [0, 296],
      ]),
    ),
  ).toBeUndefined()
})
