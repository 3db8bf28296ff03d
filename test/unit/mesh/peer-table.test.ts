import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PeerTable, type PlannedPeer } from '#src/mesh/peer-table.ts'
import { endpointOf, name, publicKey } from './records.ts'

const USES = ['tunnel', 'lingering', 'candidate', 'contested'] as const

type Use = (typeof USES)[number]

/** A peer that tells for whom it is, and why. */
const planned = (node: number, key: number, use: Use): PlannedPeer => {
  const [endpoint, persistentKeepalive] = [endpointOf(node), USES.indexOf(use)]
  return {
    key: publicKey(key),
    use,
    peer: { endpoint, mayRoamTo: 'anywhere', allowedIps: new Set(), persistentKeepalive },
  }
}

const tableOf = (...entries: readonly (readonly [node: number, PlannedPeer])[]): PeerTable => {
  const table = new PeerTable()
  for (const [node, peer] of entries) table.put(name(node), [peer])
  return table
}

describe('a key that two nodes have a peer for', () => {
  const stronger = [
    ['tunnel', 'lingering'],
    ['tunnel', 'candidate'],
    ['tunnel', 'contested'],
    ['lingering', 'candidate'],
    ['lingering', 'contested'],
    ['candidate', 'contested'],
  ] as const

  test.each(stronger)('has that of a %s and not that of a %s, whichever was planned last', (more, less) => {
    const [one, other] = [[2, planned(2, 7, less)] as const, [3, planned(3, 7, more)] as const]
    for (const table of [tableOf(one, other), tableOf(other, one)])
      expect([...table.peers]).toEqual([[publicKey(7), other[1].peer]])
  })

  test.each(USES)('has that of the first by name where it is a %s of both', use => {
    const [one, other] = [[2, planned(2, 7, use)] as const, [3, planned(3, 7, use)] as const]
    for (const table of [tableOf(one, other), tableOf(other, one)])
      expect([...table.peers]).toEqual([[publicKey(7), one[1].peer]])
  })

  test.each([2, 3])('has that of the other when node %i has none any more', gone => {
    const [one, other] = [planned(2, 7, 'contested'), planned(3, 7, 'candidate')]
    const table = tableOf([2, one], [3, other])
    table.put(name(gone), [])
    expect([...table.peers]).toEqual([[publicKey(7), gone === 2 ? other.peer : one.peer]])
  })

  test('has none when neither has', () => {
    const table = tableOf([2, planned(2, 7, 'contested')], [3, planned(3, 7, 'candidate')])
    for (const node of [2, 3]) table.put(name(node), [])
    expect([...table.peers, ...table.nodes()]).toEqual([])
  })
})

test('a node has the peers that were planned for it last, and no others', () => {
  const table = tableOf([2, planned(2, 6, 'tunnel')])
  const peers = [planned(2, 7, 'tunnel'), planned(2, 8, 'candidate')]
  table.put(name(2), peers)
  expect([...table.peers]).toEqual(peers.map(({ key, peer }) => [key, peer]))
})

test('what the device has follows from what is planned, in whatever order it came to be', () => {
  const keys = [6, 7, 8]
  const wishes = fc.uniqueArray(fc.tuple(fc.constantFrom(...keys), fc.constantFrom(...USES)), {
    maxLength: 2,
    selector: ([key]) => key,
  })
  const puts = fc.array(fc.tuple(fc.integer({ min: 2, max: 5 }), wishes), { maxLength: 30 })
  fc.assert(
    fc.property(puts, puts => {
      const table = new PeerTable()
      for (const [node, wanted] of puts)
        table.put(
          name(node),
          wanted.map(([key, use]) => planned(node, key, use)),
        )
      const last = [...new Map(puts)].flatMap(([node, wanted]) => wanted.map(([key, use]) => ({ node, key, use })))
      const first = (key: number) =>
        last
          .filter(wish => wish.key === key)
          .toSorted((a, b) => USES.indexOf(a.use) - USES.indexOf(b.use) || a.node - b.node)
          .map(({ node, use }) => planned(node, key, use).peer)[0]
      for (const key of keys) expect(table.peers.get(publicKey(key))).toEqual(first(key))
    }),
  )
})
