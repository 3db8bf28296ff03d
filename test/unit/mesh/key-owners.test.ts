import { describe, expect, test } from 'vitest'
import { KeyOwners } from '#src/mesh/key-owners.ts'
import { announcement, name, nodeRecord, publicKey } from './records.ts'

const announcing = (index: number, key: number, createdAt = index) =>
  nodeRecord(index, { createdAt, announced: { 4: announcement(key), 6: undefined } })

const using = (key: number) => ({ inUse: new Set([publicKey(key)]), next: new Set<never>() })

const NOTHING = { inUse: new Set<never>(), next: new Set<never>() }

describe('of two nodes with one key', () => {
  const owners = new KeyOwners(4)
  owners.announce(name(3), announcing(3, 5))
  owners.announce(name(2), announcing(2, 5))

  test('the elder has it, and the other one is told whose it is', () => {
    expect(owners.owner(publicKey(5))).toBe(name(2))
    expect(owners.refused).toEqual(new Map([[name(3), ['it announces the key of node-2']]]))
  })

  test('who uses it already has it, whatever the age, until it does so no more', () => {
    owners.hold(name(3), using(5))
    expect(owners.owner(publicKey(5))).toBe(name(3))
    expect(owners.refusals(name(2))).toEqual(['it announces the key of node-3'])
    owners.hold(name(3), NOTHING)
    expect(owners.owner(publicKey(5))).toBe(name(2))
  })

  test('both are looked at again when it changes hands, and nobody else', () => {
    owners.announce(name(4), announcing(4, 6))
    owners.takeChanged()
    owners.announce(name(2), undefined)
    expect(owners.owner(publicKey(5))).toBe(name(3))
    expect(owners.takeChanged()).toEqual(new Set([name(2), name(3)]))
  })
})

test('a key that somebody uses without announcing it is nobody else’s', () => {
  const owners = new KeyOwners(4)
  owners.hold(name(3), using(5))
  owners.announce(name(2), announcing(2, 5))
  expect(owners.owner(publicKey(5))).toBeUndefined()
  expect(owners.refusals(name(2))).toEqual(['it announces the key of node-3'])
})

test('nobody is believed to have our own', () => {
  const owners = new KeyOwners(4)
  owners.announce(name(2), announcing(2, 1))
  expect(owners.owner(publicKey(1))).toBe(name(2))
  owners.own(new Set([publicKey(1)]))
  expect(owners.owner(publicKey(1))).toBeUndefined()
  expect(owners.refusals(name(2))).toEqual(['it announces the key of this node'])
})
