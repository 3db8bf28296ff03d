import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Loss, World, type WorldNode } from './world.ts'

/** Everything that may happen, picked by number so that a counterexample shrinks; what moves things on is likelier. */
function events(world: World): (() => void)[] {
  const each = <T>(make: (node: WorldNode) => T): T[] => world.nodes.map(make)
  const often = [
    ...each(node => () => world.pass(node)),
    ...each(node => () => world.publish(node)),
    ...world.nodes.flatMap(node => each(other => () => world.watch(node, other))),
    ...[0, 0, 0, 1, 2].map(index => () => world.deliver(index)),
  ]
  return [
    ...often,
    ...often,
    ...often,
    () => world.letters.splice(0, 1),
    () => {
      world.now += 1_000
    },
    ...each(node => () => {
      node.enabled = !node.enabled
    }),
    ...each(node => () => world.restart(node)),
  ]
}

/** @returns how many moments had somebody steering */
function play(world: World, picks: readonly number[]): number {
  let steering = 0
  for (const pick of picks) {
    const choices = events(world)
    choices[pick % choices.length]?.()
    world.check()
    if (world.nodes.some(from => from.routes.size > 0)) steering++
  }
  return steering
}

// Without bias: small numbers are no more interesting than others here.
const picksOf = (minLength: number, maxLength: number) => fc.array(fc.noBias(fc.nat(10_000)), { minLength, maxLength })

/** All are switched on, and have had time to find each other or not, so that what is dangerous is near. */
function worldInUse(count: number, settled: boolean, careless = false): World {
  const world = new World(count, careless)
  for (const node of world.nodes) node.enabled = true
  if (settled) world.settle(6)
  return world
}

describe('two and three nodes, with changes seen late and hellos delayed, reordered and lost', () => {
  test.each([2, 3])(
    '%i nodes: nobody ever steers to a node that does not accept',
    count => {
      let runsThatSteered = 0
      fc.assert(
        fc.property(picksOf(60, 200), fc.boolean(), (picks, settled) => {
          if (play(worldInUse(count, settled), picks) > 0) runsThatSteered++
        }),
        { numRuns: 1_000 },
      )
      expect(runsThatSteered).toBeGreaterThan(200)
    },
    60_000,
  )

  test('control: steering on sight of a key, as Felix does, is seen to lose', () => {
    const careless = fc.check(
      fc.property(picksOf(60, 200), picks => void play(worldInUse(2, false, true), picks)),
      { numRuns: 200 },
    )
    expect(careless.errorInstance).toBeInstanceOf(Loss)
  })

  test.each([2, 3])(
    '%i nodes: whatever happened before, all encrypt once all are switched on',
    count => {
      fc.assert(
        fc.property(picksOf(0, 80), picks => {
          const world = new World(count)
          play(world, picks)
          for (const node of world.nodes) node.enabled = true
          world.settle()
          for (const from of world.nodes)
            for (const to of world.nodes)
              if (from !== to) expect(world.steers(from, to), `${from.name} → ${to.name}`).toBe(true)
        }),
        { numRuns: 100 },
      )
    },
    60_000,
  )

  test.each([2, 3])(
    '%i nodes: whatever happened before, nothing is left once all are switched off',
    count => {
      fc.assert(
        fc.property(picksOf(0, 80), picks => {
          const world = new World(count)
          play(world, picks)
          for (const node of world.nodes) node.enabled = false
          world.settle(250)
          for (const node of world.nodes) expect([node.up, node.peers.size, node.routes.size]).toEqual([false, 0, 0])
        }),
        { numRuns: 100 },
      )
    },
    60_000,
  )
})
