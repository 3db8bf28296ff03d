import { createHash } from 'node:crypto'
import type { PublicKey } from '#keys/public-key.ts'
import { LANES, type Lane, type NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerState } from '#src/mesh/peer-machine.ts'
import type { Talk } from './talk.ts'
import type { Letter, World, WorldNode } from './world.ts'

/** Something that may happen next. */
export interface Step {
  readonly name: string
  happen(world: World): void
}

export interface Exploration {
  /** States that differ in something that matters. */
  readonly states: number
  readonly steps: number
  /** How many of the states have somebody steering. */
  readonly steering: number
}

/**
 * Goes through all that can happen, each state once, to a depth.
 * @throws what a step threw, with the way that led there in its message
 */
export function explore(
  roots: readonly World[],
  stepsOf: (world: World) => readonly Step[],
  depth: number,
): Exploration {
  const seen = new Set<string>()
  let steps = 0
  let steering = 0
  const isNew = (world: World): boolean => {
    // A digest of it, as hundreds of thousands are remembered.
    const print = createHash('sha1').update(fingerprint(world)).digest('base64')
    if (seen.has(print)) return false
    seen.add(print)
    if (world.nodes.some(node => node.routes.size > 0)) steering++
    return true
  }
  let frontier = roots.filter(isNew).map((world): Reached => ({ world, way: [] }))
  for (let level = 0; level < depth; level++) {
    const next: Reached[] = []
    for (const { world, way } of frontier) {
      for (const step of stepsOf(world)) {
        const after = world.clone()
        steps++
        take(step, after, way)
        if (isNew(after)) next.push({ world: after, way: [...way, step.name] })
      }
    }
    frontier = next
  }
  return { states: seen.size, steps, steering }
}

interface Reached {
  readonly world: World
  readonly way: readonly string[]
}

function take(step: Step, world: World, way: readonly string[]): void {
  try {
    step.happen(world)
    world.check()
  } catch (error) {
    if (error instanceof Error) error.message += `\n  after: ${[...way, step.name].join(', ')}`
    throw error
  }
}

/** Times count by how long ago they were, and beyond this no more. */
const LONG_AGO = 6_000

/** Text that two worlds share when the same can happen to both: sessions and times are named by what they are to others. */
export function fingerprint(world: World): string {
  const sessions = new Map<bigint, number>()
  const session = (id: bigint | undefined) => {
    if (id === undefined || id === 0n) return id === undefined ? undefined : -1
    if (!sessions.has(id)) sessions.set(id, sessions.size)
    return sessions.get(id)
  }
  const ago = (time: number | undefined) =>
    time === undefined ? undefined : Math.max(-LONG_AGO, Math.min(LONG_AGO, world.now - time))
  const key = (one: PublicKey | undefined) => one?.slice(0, 6)
  const letter = ({ from, lane, as, to, key: under, port, message }: Letter) => [
    ...[from, lane, key(as), to, key(under), port, words(message)],
  ]
  const words = (message: Letter['message'] | undefined) =>
    message && [
      ...[session(message.session), message.revision, session(message.heardSession), message.heardRevision],
      ...[message.wantsAnswer, message.content.accepts?.slice(0, 6), message.content.steers],
      message.content.parked,
    ]
  const talk = ({ state }: Talk, since: number) => [
    ...[
      session(state.session),
      state.said?.accepts?.slice(0, 6),
      state.said?.steers,
      state.said?.parked,
      state.revision,
    ],
    ...[Math.min(state.repetitions, 6), words(state.heard), key(state.heardKey), state.heardAt >= since],
    ...[session(state.bygone), ago(state.nextAt)],
  ]
  const peerState = (state: PeerState) =>
    state.phase === 'absent'
      ? 'absent'
      : [
          ...[state.phase, key(state.key), state.helloAddress],
          state.phase === 'lingering' ? ago(state.agreedAt) : key(state.candidate),
          state.phase === 'accepting' && state.parked,
        ]
  const said = ({ announced, spare, podCidrs }: NodeRecord) => [
    podCidrs.length,
    ...[key(announced[4]?.publicKey), announced[4]?.port, key(spare[4]?.publicKey), spare[4]?.move],
  ]
  const device = (one: WorldNode, lane: Lane) => {
    const { up, key: own, formerKeys, port, peers } = one.devices[lane]
    const states = one.states?.[lane]
    return [
      ...[up, key(own?.publicKey()), [...formerKeys].map(key).sort(), port],
      [...peers.values()]
        .map(peer => [
          ...[key(peer.publicKey), [...peer.allowedIps].sort(), peer.latestHandshake > 0n, peer.endpoint?.port],
        ])
        .sort(),
      states && [...states].map(([name, state]) => [name, peerState(state)]),
      [...one.conversations[lane]].map(([name, conversation]) => {
        const state = states?.get(name)
        return [name, talk(conversation, state && state.phase !== 'absent' ? state.since : 0)]
      }),
    ]
  }
  const node = (one: WorldNode) => [
    ...[key(one.key.publicKey()), key(one.next?.publicKey()), one.port, one.nextPort],
    one.hasRoaming,
    ...[one.lostKeys.size, [...one.acceptedSince].sort(), one.enabled, [...one.routes].sort()],
    [...one.seen].map(([name, record]) => [name, said(record)]),
    LANES.map(lane => device(one, lane)),
  ]
  return JSON.stringify([
    world.nodes.map(node),
    [...world.api].map(([name, record]) => [name, said(record)]),
    [...world.patches].map(([name, { main, spare }]) => [
      ...[name, key(main?.publicKey), main?.port, key(spare?.publicKey), spare?.move],
    ]),
    world.letters
      .map(letter)
      .map(one => JSON.stringify(one))
      .sort(),
  ])
}
