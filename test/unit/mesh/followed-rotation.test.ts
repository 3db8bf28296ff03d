import { expect, test } from 'vitest'
import { World, type WorldNode } from './world.ts'

function twoNodes(): { world: World; one: WorldNode; two: WorldNode } {
  const world = new World(2)
  for (const node of world.nodes) node.enabled = true
  world.settle(6)
  const [one, two] = world.nodes
  if (!one || !two) throw new Error('two nodes were made')
  return { world, one, two }
}

test('a node asked for another key while it follows another node’s rotation keeps that of its spare device until it is over', () => {
  const { world, one, two } = twoNodes()
  two.rotate()
  for (let pass = 0; pass < 2; pass++) world.pass(two)
  world.publish(two)
  world.watch(one, two)
  for (let pass = 0; pass < 2; pass++) world.pass(one)
  world.publish(one)
  // The other one dies and comes back in the middle of it, and has heard nothing of who accepts what since.
  world.crash(two, 1)
  world.pass(two)
  const key = one.devices.spare.key
  one.rotate()
  world.deliver(0)
  world.pass(one)
  expect(one.devices.spare.key).toBe(key)
  // What it steers by then, the first must accept: `check` throws where it does not.
  world.crash(two, 2)
  world.check()

  world.settle()
  one.rotate()
  world.settle()
  expect(one.devices.main.key).not.toBe(key)
})
