import { expect, test } from 'vitest'
import type { PublicKey } from '#keys/public-key.ts'
import { ChangingPairs } from '#src/agent/changing-pairs.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerState } from '#src/mesh/peer-machine.ts'
import { Table } from '#wg/table.ts'
import { accepting, encrypting, keyOf, node } from './peers.ts'

const [KEY, NEW] = [keyOf(2), keyOf(3)]
const lingering: PeerState = {
  ...{ phase: 'lingering', since: 0, key: KEY, helloAddress: undefined, reason: 'it left' },
  ...{ lastData: 0, rxBytes: 0n, agreedAt: undefined },
}
const absent: PeerState = { phase: 'absent', reason: 'it announces no key' }

const awaited = (state: PeerState): PublicKey[] => {
  const pairs = new ChangingPairs()
  pairs.note(Table.from([[node(2), state]]))
  return [...pairs.keys]
}

test.each<[string, PeerState, PublicKey[]]>([
  ['one that is to prove itself waits for its key', accepting(2, 0), [KEY]],
  [
    'one that has announced another key meanwhile for both',
    { ...accepting(2, 0), candidate: NEW } as PeerState,
    [KEY, NEW],
  ],
  ['one that encrypts for nothing', encrypting(2, 0), []],
  [
    'one that encrypts and has announced another key for both',
    { ...encrypting(2, 0), candidate: NEW } as PeerState,
    [KEY, NEW],
  ],
  ['one that lingers for its key', lingering, [KEY]],
  ['one that is absent for nothing', absent, []],
  [
    'one whose key others announce as well for that key',
    { ...absent, contested: { key: NEW, baseline: undefined } } as PeerState,
    [NEW],
  ],
])('of pairs, %s', (_, state, keys) => {
  expect(awaited(state)).toEqual(keys)
})

test('what a pair waits for follows its state, also where another table takes the place of the one before', () => {
  const pairs = new ChangingPairs()
  const states = Table.from<NodeName, PeerState>([[node(2), accepting(2, 0)]])
  const after = (table: Table<NodeName, PeerState>) => {
    pairs.note(table)
    return [...pairs.keys]
  }
  expect(after(states)).toEqual([KEY])
  states.set(node(3), accepting(3, 0))
  expect(after(states)).toEqual([KEY, NEW])
  states.set(node(2), encrypting(2, 0))
  expect(after(states)).toEqual([NEW])
  states.delete(node(3))
  expect(after(states)).toEqual([])
  expect(after(Table.from<NodeName, PeerState>([[node(4), lingering]]))).toEqual([KEY])
})
