import { describe, expect, test } from 'vitest'
import { KeyOwners } from '#src/mesh/key-owners.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { announcement, endpointOf, name, nodeRecord, publicKey } from './records.ts'

const announcing = (index: number, key: number, createdAt = index) =>
  nodeRecord(index, { createdAt, announced: { 4: announcement(key), 6: undefined } })

const NOTHING = { proven: [], inUse: [], next: [] }

const steeringBy = (key: number) => ({ ...NOTHING, proven: [publicKey(key)] })
const waitingWith = (key: number) => ({ ...NOTHING, inUse: [publicKey(key)] })
const trying = (key: number) => ({ ...NOTHING, next: [publicKey(key)] })

/** Remembers what each node announced before. */
class Announced extends KeyOwners {
  readonly #nodes = new Map<NodeName, NodeRecord>()

  announce(name: NodeName, node: NodeRecord | undefined): void {
    this.put(name, this.#nodes.get(name), node)
    if (node) this.#nodes.set(name, node)
    else this.#nodes.delete(name)
  }
}

/** Two nodes announce key 5, and the elder, node 2, is the one that copies it. */
function shared(): Announced {
  const owners = new Announced(4)
  owners.announce(name(3), announcing(3, 5))
  owners.announce(name(2), announcing(2, 5))
  return owners
}

const calledFrom = (index: number) => () => endpointOf(index).address

const BOTH =
  'node-2 and node-3 announce one key: it is believed for the one that calls with it from an address of its own'

describe('of two nodes with one key', () => {
  test('neither is believed for its age, and both are told', () => {
    const owners = shared()
    expect([owners.owner(publicKey(5)), owners.isContested(publicKey(5))]).toEqual([undefined, true])
    expect(owners.refused).toEqual(
      new Map([
        [name(2), [BOTH]],
        [name(3), [BOTH]],
      ]),
    )
  })

  test.each([2, 3])('node-%i has it once it has shaken hands from there, and the other is told whose it is', index => {
    const owners = shared()
    owners.hear(calledFrom(index))
    expect([owners.owner(publicKey(5)), owners.isContested(publicKey(5))]).toEqual([name(index), false])
    const other = name(5 - index)
    expect(owners.refused).toEqual(new Map([[other, [`it announces the key of ${name(index)}`]]]))
  })

  test('a handshake from where neither is, or both are, tells nothing', () => {
    const owners = shared()
    owners.hear(calledFrom(66))
    expect(owners.isContested(publicKey(5))).toBe(true)
    owners.announce(name(2), { ...announcing(2, 5), addresses: announcing(3, 5).addresses })
    owners.hear(calledFrom(3))
    expect(owners.isContested(publicKey(5))).toBe(true)
  })

  test('who is steered to by it keeps it, wherever it calls from, until it is so no more', () => {
    const owners = shared()
    owners.hold(name(3), steeringBy(5))
    owners.hear(calledFrom(2))
    expect(owners.owner(publicKey(5))).toBe(name(3))
    expect(owners.refusals(name(2))).toEqual(['it announces the key of node-3'])
    owners.hold(name(3), NOTHING)
    expect(owners.owner(publicKey(5))).toBe(name(2))
  })

  test.each([
    ['has a tunnel that waits for proof', waitingWith(5)],
    ['had it for its next key first', trying(5)],
  ])('who %s keeps it, until it calls from where the other is', (_, held) => {
    const owners = shared()
    owners.hold(name(2), held)
    expect(owners.owner(publicKey(5))).toBe(name(2))
    owners.hear(calledFrom(3))
    expect(owners.owner(publicKey(5))).toBe(name(3))
  })

  test('where it is the next key of both, nobody had it first', () => {
    const owners = shared()
    owners.hold(name(2), trying(5))
    owners.hold(name(3), trying(5))
    expect(owners.isContested(publicKey(5))).toBe(true)
  })

  test('all are looked at again when it changes hands, and nobody else', () => {
    const owners = shared()
    owners.announce(name(4), announcing(4, 6))
    owners.takeChanged()
    owners.announce(name(2), undefined)
    expect(owners.owner(publicKey(5))).toBe(name(3))
    expect(owners.takeChanged()).toEqual(new Set([name(2), name(3)]))
  })
})

test('a key that somebody uses without announcing it is nobody else’s', () => {
  const owners = new Announced(4)
  owners.hold(name(3), waitingWith(5))
  owners.announce(name(2), announcing(2, 5))
  expect(owners.owner(publicKey(5))).toBeUndefined()
  expect(owners.refusals(name(2))).toEqual(['it announces the key of node-3'])
})

test('nobody is believed to have our own', () => {
  const owners = new Announced(4)
  owners.announce(name(2), announcing(2, 1))
  expect(owners.owner(publicKey(1))).toBe(name(2))
  owners.own(new Set([publicKey(1)]))
  expect(owners.owner(publicKey(1))).toBeUndefined()
  expect(owners.refusals(name(2))).toEqual(['it announces the key of this node'])
})
