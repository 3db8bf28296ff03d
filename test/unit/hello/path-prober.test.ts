import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  afterTrial,
  PATH_MTU_FLOOR,
  PathProber,
  type PathState,
  sizeToAsk,
  type Verdict,
} from '#src/hello/path-prober.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const TIMES = { period: 30 * SECOND, recheck: 5 * MINUTE }
const TICK = 500
const SMALL = 44

/** A path whose true MTU nobody says. `arrives` is of each echo and its answer together. */
class Path {
  readonly prober: PathProber
  readonly asked: { readonly size: number; readonly at: number }[] = []
  hidden: number
  /** @param large of this round, with both of its small ones @returns what arrives of the three */
  chance: (sizes: readonly number[]) => readonly boolean[] = sizes => sizes.map(() => true)
  now = 0
  #token = 0n

  constructor(family: 4 | 6, full: number, hidden = full) {
    this.hidden = hidden
    this.prober = new PathProber(family, full, TIMES, 0)
  }

  /** @param until called at each tick @returns whether it held before the time was over */
  run(milliseconds: number, until = (): boolean => false): boolean {
    for (const end = this.now + milliseconds; this.now < end; this.now += TICK) {
      if (until()) return true
      const size = this.prober.due(this.now)
      if (size !== undefined) this.#round(size)
    }
    return until()
  }

  #round(size: number): void {
    this.asked.push({ size, at: this.now })
    const [before, large, after] = [this.#token++, this.#token++, this.#token++]
    this.prober.ask({ large, small: [before, after] }, this.now)
    const sizes = [SMALL, size, SMALL]
    const luck = this.chance(sizes)
    for (const [i, token] of [before, large, after].entries())
      if (luck[i] && (sizes[i] ?? 0) <= this.hidden) this.prober.answer(token, this.now + 1)
  }
}

/** What can be found of a path: the tunnel's MTU, else a multiple of 16. */
const best = (hidden: number, full: number): number => (hidden >= full ? full : Math.floor(hidden / 16) * 16)

/** Loss that cares for no size, of each echo or its answer. */
function plainLoss(ratio: number, seed: number): Path['chance'] {
  let state = seed
  const random = () => {
    state = (state + 0x9e3779b9) >>> 0
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b)
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32
  }
  return sizes => sizes.map(() => random() >= ratio)
}

describe('a path that drops large packets', () => {
  test.each([
    [4, 1440],
    [4, 1380],
    [4, 8941],
    [6, 1420],
    [6, 8920],
  ] as const)(
    'of IPv%i and a tunnel of %i is found to the last multiple of 16, whatever it carries',
    (family, full) => {
      const floor = PATH_MTU_FLOOR[family]
      const step = full > 2_000 ? 37 : 1
      for (let hidden = floor; hidden <= full; hidden += step) {
        const path = new Path(family, full, hidden)
        path.run(2 * MINUTE)
        expect([hidden, path.prober.mtu]).toEqual([hidden, best(hidden, full)])
        expect(path.prober.seen).toBe(true)
      }
    },
  )

  test('is found within a minute and a half of the first look, and within one where the tunnel is of usual size', () => {
    const usual = new Path(4, 1440, 1236)
    expect(usual.run(MINUTE, () => usual.prober.mtu === 1232)).toBe(true)
    const jumbo = new Path(4, 8940, 1436)
    expect(jumbo.run(1.5 * MINUTE, () => jumbo.prober.mtu === 1424)).toBe(true)
  })

  test('is found although small packets are lost now and then', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const path = new Path(4, 1440, 1236)
      path.chance = plainLoss(0.05, seed)
      expect(path.run(20 * MINUTE, () => path.prober.mtu === 1232)).toBe(true)
    }
  })

  test('is followed wherever it goes', () => {
    const somewhere = fc.integer({ min: 1280, max: 1500 })
    fc.assert(
      fc.property(fc.array(somewhere, { minLength: 1, maxLength: 6 }), hidden => {
        const path = new Path(6, 1420)
        for (const one of hidden) {
          path.hidden = one
          path.run(12 * MINUTE)
          expect(path.prober.mtu).toBe(best(one, 1420))
        }
      }),
      { numRuns: 100 },
    )
  })

  test('is followed though it changes in the midst of a search', () => {
    const change = fc.record({ hidden: fc.integer({ min: 576, max: 1500 }), after: fc.integer({ min: 1, max: 100 }) })
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), changes => {
        const path = new Path(4, 1440)
        for (const { hidden, after } of changes) {
          path.hidden = hidden
          path.run(after * SECOND)
          expect(path.prober.mtu).toBeLessThanOrEqual(1440)
        }
        path.run(15 * MINUTE)
        expect(path.prober.mtu).toBe(best(path.hidden, 1440))
      }),
      { numRuns: 200 },
    )
  })

  test('is asked by the tunnel’s MTU again after a while, and by no more than is in use until then', () => {
    const path = new Path(4, 1440, 1236)
    path.run(2 * MINUTE)
    path.asked.length = 0
    path.run(2 * MINUTE)
    expect(new Set(path.asked.map(({ size }) => size))).toEqual(new Set([1232]))
    path.run(5 * MINUTE)
    expect(new Set(path.asked.map(({ size }) => size))).toEqual(new Set([1232, 1440, 1248]))
    path.hidden = 1440
    expect(path.run(6 * MINUTE, () => path.prober.mtu === 1440)).toBe(true)
  })

  test('below the smallest MTU keeps the tunnel’s, as nothing smaller would mend it, and is said to be blocked', () => {
    const path = new Path(6, 1420, 1200)
    path.run(10 * MINUTE)
    expect([path.prober.mtu, path.prober.blocked]).toEqual([1420, true])
    path.hidden = 1420
    path.run(MINUTE)
    expect([path.prober.mtu, path.prober.blocked]).toEqual([1420, false])
  })

  test('is one that carries less than was found before, if the endpoint is another', () => {
    const path = new Path(4, 1440, 1236)
    path.run(2 * MINUTE)
    path.hidden = 1440
    path.prober.doubt(path.now)
    expect(path.prober.mtu).toBe(1232)
    expect(path.run(5 * SECOND, () => path.prober.mtu === 1440)).toBe(true)
  })
})

describe('plain loss', () => {
  test.each([0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1])('of %d of all packets never makes an MTU smaller', ratio => {
    for (let seed = 1; seed <= 20; seed++) {
      const path = new Path(4, 1440)
      path.chance = plainLoss(ratio, seed)
      expect(path.run(12 * HOUR, () => path.prober.mtu < 1440)).toBe(false)
      expect(path.asked.length).toBeGreaterThan(1_000)
    }
  })

  test('that takes a small packet whenever it takes a large one says nothing, however it falls', () => {
    const fate = fc.constantFrom(
      [true, true, true],
      [false, false, true],
      [true, false, false],
      [false, true, false],
      [false, false, false],
    )
    fc.assert(
      fc.property(fc.infiniteStream(fate), fates => {
        const path = new Path(4, 1440)
        path.chance = () => fates.next().value ?? []
        expect(path.run(30 * MINUTE, () => path.prober.mtu < 1440)).toBe(false)
      }),
      { numRuns: 100 },
    )
  })

  test('of everything, as of a peer whose agent has gone, changes nothing of what was found', () => {
    const path = new Path(4, 1440, 1236)
    path.run(2 * MINUTE)
    path.chance = sizes => sizes.map(() => false)
    path.run(HOUR)
    expect(path.prober.mtu).toBe(1232)
  })

  test('control: of large packets alone it is a smaller MTU', () => {
    const path = new Path(4, 1440)
    path.chance = sizes => sizes.map(size => size <= 1236)
    expect(path.run(2 * MINUTE, () => path.prober.mtu === 1232)).toBe(true)
  })
})

describe('what it costs', () => {
  test('is one round each period while nothing is lost', () => {
    const path = new Path(4, 1440)
    path.run(HOUR)
    expect(path.asked.length).toBeLessThanOrEqual(HOUR / TIMES.period)
    expect(path.asked.length).toBeGreaterThan(HOUR / TIMES.period - 5)
  })

  test('is no more than a round each second and a half while something is in doubt', () => {
    const path = new Path(4, 1440)
    path.chance = plainLoss(0.3, 7)
    path.hidden = 1236
    path.run(HOUR)
    for (const [i, { at }] of path.asked.entries()) {
      const fifth = path.asked[i + 5]
      if (fifth) expect(fifth.at - at).toBeGreaterThanOrEqual(TICK * 5)
    }
    expect(path.asked.length).toBeLessThan(HOUR / (1.5 * SECOND))
  })

  test('is nothing where the tunnel has the smallest MTU already', () => {
    const path = new Path(6, 1280)
    path.run(HOUR)
    expect(path.asked).toEqual([])
  })

  test('is nothing while nobody asks, and a round is not judged by what was not sent', () => {
    const path = new Path(4, 1440)
    for (let i = 0; i < 50; i++, path.now += MINUTE) {
      if (path.prober.due(path.now) === undefined) continue
      path.prober.ask({ large: 1n, small: [2n, 3n] }, path.now)
      path.prober.fail(path.now)
    }
    expect(path.prober.mtu).toBe(1440)
  })
})

describe('another MTU of the tunnel', () => {
  test('is taken at once, and what was found stays where it is smaller still', () => {
    const path = new Path(4, 1440, 1236)
    path.run(2 * MINUTE)
    path.prober.limit(1340, path.now)
    expect(path.prober.mtu).toBe(1232)
    path.prober.limit(1200, path.now)
    expect(path.prober.mtu).toBe(1200)
    path.run(MINUTE)
    path.prober.limit(1440, path.now)
    path.run(3 * MINUTE)
    expect(path.prober.mtu).toBe(1232)
  })

  test('of a path that carried all is not known to arrive before it was seen', () => {
    const path = new Path(4, 1440)
    path.run(MINUTE)
    expect(path.prober.seen).toBe(true)
    path.prober.limit(8940, path.now)
    expect([path.prober.mtu, path.prober.seen]).toEqual([8940, false])
  })
})

describe('every state that can be reached', () => {
  const VERDICTS: readonly Verdict[] = ['passed', 'dropped', 'unclear']
  const key = (state: PathState): string => JSON.stringify(state)

  /** All states, from a path that nobody knows anything of; a look for larger sizes may begin in any that rests. */
  function reachable(full: number, floor: number): PathState[] {
    const first: PathState = { mtu: full, full, floor, stage: { kind: 'watch' } }
    const seen = new Map([[key(first), first]])
    for (const state of seen.values()) {
      const next = VERDICTS.map(verdict => afterTrial(state, verdict))
      if (state.stage.kind === 'watch' && state.mtu < full) next.push({ ...state, stage: { kind: 'whole' } })
      for (const one of next) if (!seen.has(key(one))) seen.set(key(one), one)
    }
    return [...seen.values()]
  }

  test.each([
    [1440, 576],
    [1420, 1280],
    [1290, 1280],
  ])('keeps to what the tunnel of %i takes, and asks nothing above it', (full, floor) => {
    const states = reachable(full, floor)
    expect(states.length).toBeGreaterThan(4)
    for (const state of states) {
      expect(state.mtu).toBeLessThanOrEqual(full)
      expect(state.mtu).toBeGreaterThanOrEqual(floor)
      const size = sizeToAsk(state)
      if (size === undefined) expect([state.mtu, state.stage.kind]).toEqual([floor, 'watch'])
      else expect(size === full || (size % 16 === 0 && size < full && size >= floor)).toBe(true)
    }
  })

  test('takes a smaller MTU only where it was seen to arrive, and another one after nothing that is unclear', () => {
    let falls = 0
    for (const state of reachable(1440, 576)) {
      expect(afterTrial(state, 'unclear').mtu).toBe(state.mtu)
      for (const verdict of VERDICTS) {
        const { mtu } = afterTrial(state, verdict)
        if (mtu >= state.mtu) continue
        falls++
        const arrived = verdict === 'passed' ? sizeToAsk(state) : 'low' in state.stage && state.stage.low
        expect(mtu).toBe(arrived)
      }
    }
    expect(falls).toBeGreaterThan(0)
  })

  test('comes to rest after few more answers, whatever they are', () => {
    const after = new Map<string, number>()
    const steps = (state: PathState): number => {
      if (state.stage.kind === 'watch') return 0
      const known = after.get(key(state))
      if (known !== undefined) return known
      const most = 1 + Math.max(...VERDICTS.map(verdict => steps(afterTrial(state, verdict))))
      after.set(key(state), most)
      return most
    }
    for (const state of reachable(1440, 576)) expect(steps(state)).toBeLessThanOrEqual(10)
  })
})
