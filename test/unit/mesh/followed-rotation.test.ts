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

test('a node whose port changes while it follows another node’s rotation keeps the key that it was to get for afterwards', () => {
  const { world, one, two } = twoNodes()
  one.changePort()
  world.pass(one)
  // Its spare device is there with the present key, and it dies before it is given the next one.
  one.rotate()
  two.rotate()
  for (let pass = 0; pass < 2; pass++) world.pass(two)
  world.publish(two)
  world.watch(one, two)
  const { key } = one
  // Each write is checked: what the other steers by, the first must accept.
  for (let round = 0; round < 10 && one.port === one.nextPort; round++) world.settle(1)
  world.settle(3)
  expect(one.devices.spare.key).toBe(key)

  world.settle()
  expect([one.port, one.next]).toEqual([one.nextPort, undefined])
  expect(one.devices.main.key).not.toBe(key)
})

/** Everything that happens in one round in which all goes well, one thing after the other. */
function* roundOf(world: World): Generator<void> {
  for (const node of world.nodes) yield world.pass(node)
  for (const node of world.nodes) yield world.publish(node)
  for (const node of world.nodes) for (const other of world.nodes) yield world.watch(node, other)
  for (const node of world.nodes)
    for (const other of world.nodes) if (node !== other) yield world.handshake(node, other)
  while (world.letters.length > 0) yield world.deliver(0)
  world.now += 1_000
}

test.each([
  ['the other node', 0],
  ['the same node', 1],
] as const)(
  'while a node rotates its key %s is asked for another key, at any moment: nothing is lost, and it gets it',
  (_, asked) => {
    const { world, two } = twoNodes()
    two.rotate()
    let moments = 0
    for (let round = 0; round < 16; round++) {
      for (const _ of roundOf(world)) {
        moments++
        const from = world.clone()
        const [one, other] = from.nodes
        const node = from.nodes[asked]
        if (!one || !other || !node) throw new Error('two nodes were made')
        const before = new Set([node.key, node.next])
        // Asked again and again, as an agent is by what it is told to do. Each write is checked.
        for (let rounds = 0; rounds < 40 && before.has(node.key); rounds++) {
          node.rotate()
          from.settle(1)
        }
        expect(before.has(node.key), `after moment ${moments}`).toBe(false)
      }
    }
    expect(moments).toBeGreaterThan(100)
  },
)
