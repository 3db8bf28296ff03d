import { expect, test } from 'vitest'
import { conditionText, offText, readConditionText } from '#src/status/condition-text.ts'
import { type PairFact, PeerCount, type Tally } from '#src/status/tally.ts'

const BY = { guard: 'enforce', version: '0.1.0' } as const

const fact = (node: string, changes: Partial<PairFact> = {}): PairFact => ({
  ...{ node, family: 4, phase: 'encrypting', reason: 'proven', overdue: false, silent: false },
  ...changes,
})

/** @param nodes what is known of each */
function tallyOf(nodes: Iterable<readonly PairFact[]>): Tally {
  const count = new PeerCount()
  for (const facts of nodes) count.add(facts)
  return count.end()
}

test('peers are counted, and the worst of each named with the reason', () => {
  const tally = tallyOf([
    [fact('a'), fact('a', { family: 6, phase: 'absent', reason: 'it announces no WireGuard key', overdue: true })],
    [fact('b', { phase: 'accepting', reason: 'no handshake yet', overdue: true })],
    [fact('c', { silent: true }), fact('c', { family: 6 })],
    [fact('d', { phase: 'accepting', reason: 'waiting; still' })],
    [fact('e'), fact('e', { family: 6 })],
  ])
  expect(conditionText(tally, BY)).toBe(
    '2 of 5 peers encrypted; in clear: a (IPv6: it announces no WireGuard key), b (IPv4: no handshake yet); not answering: c (IPv4: answers nothing that is sent to it: is UDP to its WireGuard port blocked?); joining: d (IPv4: waiting, still); guard enforce; podveil 0.1.0',
  )
})

test('of many only some are named', () => {
  const facts = ['a', 'b', 'c', 'd', 'e'].map(node => [
    fact(node, { phase: 'absent', reason: 'no key', overdue: true }),
  ])
  expect(conditionText(tallyOf(facts), BY)).toContain('c (IPv4: no key) and 2 more; guard')
})

test('what was written is read back', () => {
  const tally = tallyOf([[fact('a')], [fact('b', { phase: 'accepting', reason: 'x', overdue: true })]])
  expect(readConditionText(conditionText(tally, BY))).toEqual({
    encrypted: 1,
    peers: 2,
    trouble: 'in clear: b (IPv4: x)',
    ...BY,
  })
  expect(readConditionText(offText(BY))).toMatchObject({ encrypted: 0, peers: 0, trouble: '', version: '0.1.0' })
  expect(readConditionText('kubelet is posting ready status')).toBeUndefined()
})
