import { expect, test } from 'vitest'
import { World, type WorldNode } from './world.ts'

const HOUR = 3_600_000

function encrypted(): { world: World; one: WorldNode; two: WorldNode } {
  const world = new World(2)
  for (const node of world.nodes) node.enabled = true
  world.settle(6)
  const [one, two] = world.nodes
  if (!one || !two) throw new Error('two nodes were made')
  return { world, one, two }
}

/** Milliseconds, by node 2's clock, of its last handshake with node 1. */
const lastHandshake = ({ devices }: WorldNode): number =>
  Number([...devices.main.peers.values()][0]?.latestHandshake ?? 0n) / 1_000_000

test('a node whose clock was set back is refused when it begins a handshake, and shakes hands when the other begins', () => {
  const { world, one, two } = encrypted()
  const alone = () => {
    world.now += 1_000
    // It alone can begin: the other does not know its port.
    for (const [key, peer] of two.devices.main.peers) two.devices.main.peers.set(key, { ...peer, endpoint: undefined })
    world.handshake(one, two)
    return lastHandshake(two)
  }
  const first = lastHandshake(two)
  const control = alone()
  expect(control).toBeGreaterThan(first)
  one.clockBehind = HOUR
  expect(alone()).toBe(control)

  world.settle(2)
  expect(lastHandshake(two)).toBeGreaterThan(control)
})

test('a node whose clock was set back while it encrypted stays encrypted to, through a restart and a new key', () => {
  const { world, one, two } = encrypted()
  one.clockBehind = HOUR
  world.restart(one)
  world.settle()
  one.rotate()
  const { key } = one
  world.settle()
  expect(one.key).not.toBe(key)
  expect([world.steers(one, two), world.steers(two, one)]).toEqual([true, true])
  world.check()
})
