import { describe, expect, test } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { explore, type Step } from './explore.ts'
import { Loss, World, type WorldNode } from './world.ts'

const LONG = process.env.PODVEIL_LONG === '1'
const NOBODYS_KEY = PrivateKey.fromBytes(new Uint8Array(32).fill(0x77)).publicKey()

/** More letters than this on their way say nothing new: the oldest is lost. */
const MOST_LETTERS = 3

type Happening = (world: World, node: WorldNode, other: WorldNode) => void

const step = (name: string, index: number, happening: Happening): Step => ({
  name: `${name} ${index + 1}`,
  happen: world => {
    const [node, other] = [world.nodes[index], world.nodes[1 - index]]
    if (node && other) happening(world, node, other)
    while (world.letters.length > MOST_LETTERS) world.letters.shift()
  },
})

/** What moves a pair on, at any time and in any order: a letter that is not delivered is late, or lost. */
function ordinary(world: World): Step[] {
  const each = (name: string, happening: Happening) => [0, 1].map(index => step(name, index, happening))
  return [
    ...each('pass of', (one, node) => one.pass(node)),
    ...each('the API server takes what is said by', (one, node) => {
      one.publish(node)
      one.watch(node, node)
    }),
    ...each('the other is seen by', (one, node, other) => one.watch(node, other)),
    ...each('switch of', (_, node) => {
      node.enabled = !node.enabled
    }),
    ...each('restart of', (one, node) => one.restart(node)),
    ...world.letters
      .map((_, index) => step('arrival of letter', index, () => {}))
      .map((named, index) => ({
        name: named.name,
        happen: (one: World) => one.deliver(index),
      })),
    {
      name: 'a second',
      happen: one => {
        one.now += 1_000
      },
    },
  ]
}

/** What nobody does on purpose. */
function mishaps(world: World): Step[] {
  const each = (name: string, happening: Happening) => [0, 1].map(index => step(name, index, happening))
  return [
    ...each('death after one write of', (one, node) => one.crash(node, 1)),
    ...each('death after two writes of', (one, node) => one.crash(node, 2)),
    ...each('a handshake begun by', (one, node, other) => one.handshake(node, other)),
    ...(world.nodes.some(node => node.lostKeys.size > 0)
      ? []
      : each('loss of the disk of', (one, node) => one.loseKey(node))),
    ...each('nobody’s key written to Node', (one, node) => one.forge(node, NOBODYS_KEY)),
    ...each('the other’s key written to Node', (one, node, other) => one.forge(node, other.key.publicKey())),
  ]
}

const everything = (world: World): Step[] => [...ordinary(world), ...mishaps(world)]

function pair(careless = false): World {
  const world = new World(2, careless)
  for (const node of world.nodes) node.enabled = true
  return world
}

function settled(rounds: number): World {
  const world = pair()
  world.settle(rounds)
  return world
}

/** Both encrypt, and one of them has been switched off since. */
function leaving(): World {
  const world = settled(6)
  const [one] = world.nodes
  if (!one) throw new Error('no node')
  one.enabled = false
  world.pass(one)
  world.publish(one)
  return world
}

describe('all that can happen between two nodes', () => {
  test.each<[string, () => World[], (world: World) => Step[], number]>([
    ['from nothing, with every order of ordinary events', () => [pair()], ordinary, LONG ? 16 : 12],
    ['while they find each other', () => [1, 2, 3].map(settled), everything, LONG ? 6 : 3],
    ['while they encrypt', () => [settled(6)], everything, LONG ? 6 : 4],
    ['while one leaves', () => [leaving()], everything, LONG ? 6 : 4],
  ])(
    '%s: nobody steers to a node that does not accept',
    (name, roots, steps, depth) => {
      const explored = explore(roots(), steps, depth)
      console.info(`explored: ${name}, depth ${depth}: ${JSON.stringify(explored)}`)
      expect(explored.states).toBeGreaterThan(1_000)
    },
    LONG ? 1_200_000 : 60_000,
  )

  test('control: who steers on sight of a key, as Felix does, is found to lose', () => {
    expect(() => explore([pair(true)], ordinary, 8)).toThrow(Loss)
  })
})
