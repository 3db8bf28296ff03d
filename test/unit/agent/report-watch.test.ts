import { expect, test } from 'vitest'
import { PairWatch } from '#src/agent/report-watch.ts'
import { accepting, encrypting, kernelPeer, lookAtOnce, node } from './peers.ts'

const NOTHING = new Map()
const silentSince = (watch: PairWatch) => watch.pairs.get(node(2))?.silentSince

/** Looks every ten seconds at a peer that has received and sent so much by then. */
function look(counters: readonly (readonly [rx: number, tx: number])[]): PairWatch {
  const watch = new PairWatch()
  counters.forEach(([rx, tx], i) => {
    lookAtOnce(watch, new Map([[node(2), encrypting(2, 0)]]), new Map([kernelPeer(2, rx, tx)]), i * 10_000)
  })
  return watch
}

test('a peer is unproven when it has had its time, and not before', () => {
  const watch = new PairWatch()
  const waiting = new Map([[node(2), accepting(2, 1_000)]])
  const at = (now: number) => {
    lookAtOnce(watch, waiting, NOTHING, now)
    return watch.pairs.get(node(2))?.unproven
  }
  expect([at(31_000), at(31_001)]).toEqual([false, true])
})

test('an absent peer is absent since it was first seen so', () => {
  const absent = new Map([[node(2), { phase: 'absent', reason: 'it announces no WireGuard key' } as const]])
  const watch = new PairWatch()
  for (const now of [5_000, 90_000]) lookAtOnce(watch, absent, NOTHING, now)
  expect(watch.pairs.get(node(2))?.since).toBe(5_000)
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

test('a look tells of the pairs alone that are other than before, and forgets those that are gone', () => {
  const watch = new PairWatch()
  const both = new Map([2, 3].map(index => [node(index), encrypting(index, 0)]))
  const kernel = (rx: number) => new Map([kernelPeer(2, rx, 0), kernelPeer(3, 5, 0)])
  const changed = (states: typeof both, rx: number) => lookAtOnce(watch, states, kernel(rx), 0).map(({ node }) => node)
  expect(changed(both, 5)).toEqual([node(2), node(3)])
  expect(changed(both, 5)).toEqual([])
  expect(changed(both, 6)).toEqual([node(2)])
  both.delete(node(3))
  expect(changed(both, 6)).toEqual([])
  expect([...watch.pairs.keys()]).toEqual([node(2)])
})
