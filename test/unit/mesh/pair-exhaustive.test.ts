import { describe, expect, test } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { explore, type Step } from './explore.ts'
import { type Carelessness, Loss, World, type WorldNode } from './world.ts'

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
    { name: 'three minutes without a packet', happen: one => one.quiet() },
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

function pair(carelessness?: Carelessness): World {
  const world = new World(2, carelessness)
  for (const node of world.nodes) node.enabled = true
  return world
}

function settled(rounds: number, carelessness?: Carelessness): World {
  const world = pair(carelessness)
  world.settle(rounds)
  return world
}

/** Both encrypt, and something has been asked of one or both that changes a device which is in use. */
function changing(ask: (one: WorldNode, other: WorldNode) => void, carelessness?: Carelessness): World {
  const world = settled(6, carelessness)
  const [one, other] = world.nodes
  if (!one || !other) throw new Error('no nodes')
  ask(one, other)
  return world
}

/** At every moment of a change that goes well, for what goes wrong then. */
function* momentsOf(ask: (one: WorldNode, other: WorldNode) => void): Generator<World> {
  const world = changing(ask)
  for (let i = 0; i < 8; i++) {
    yield world.clone()
    world.settle(1)
  }
}

const rotation = (one: WorldNode): void => one.rotate()
const bothRotate = (one: WorldNode, other: WorldNode): void => [one, other].forEach(rotation)
const changeOfPort = (one: WorldNode): void => one.changePort()

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
    ['while they find each other', () => [1, 2, 3].map(rounds => settled(rounds)), everything, LONG ? 6 : 3],
    ['while they encrypt', () => [settled(6)], everything, LONG ? 6 : 4],
    ['while one leaves', () => [leaving()], everything, LONG ? 6 : 4],
    [
      'while one rotates its key, with every order of ordinary events',
      () => [changing(rotation)],
      ordinary,
      LONG ? 12 : 7,
    ],
    ['while one rotates its key', () => [...momentsOf(rotation)], everything, LONG ? 5 : 2],
    ['while both rotate their keys', () => [...momentsOf(bothRotate)], everything, LONG ? 5 : 2],
    ['while one changes its port', () => [...momentsOf(changeOfPort)], everything, LONG ? 5 : 2],
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
    expect(() => explore([pair('on sight')], ordinary, 8)).toThrow(Loss)
  })

  test('control: who waits to read in its Node that a peer stops is found to lose', () => {
    expect(() => explore([settled(6, 'deaf')], everything, 4)).toThrow(Loss)
  })

  test('control: who changes a key that is in use, as Felix does, is found to lose', () => {
    expect(() => explore([changing(rotation, 'at once')], ordinary, 8)).toThrow(Loss)
  })

  test.each<[string, (one: WorldNode, other: WorldNode) => void]>([
    ['one rotates its key', rotation],
    ['both rotate their keys', bothRotate],
    ['one changes its port', changeOfPort],
    ['one changes its port, and the other its key', (one, other) => [one.changePort(), other.rotate()]],
  ])('%s: all is as before in the end, and the old key is nowhere', (_, ask) => {
    const world = changing(ask)
    const old = world.nodes.filter(({ next }) => next).map(({ key }) => key.publicKey())
    world.settle(20)
    for (const node of world.nodes) {
      expect([...node.routes.values()]).toEqual(['main', 'main'])
      expect([node.devices.main.up, node.devices.spare.up, node.mainChanges]).toEqual([true, false, false])
      const present = [...node.devices.main.peers.keys(), node.devices.main.key?.publicKey()]
      for (const key of old) expect(present).not.toContain(key)
      expect(world.api.get(node.name)?.spare[4]).toBeUndefined()
    }
  })
})
