import { describe, expect, test } from 'vitest'
import { conditionOf, isDue } from '#src/agent/report-condition.ts'
import type { PairState, Tally } from '#src/status/tally.ts'

const BY = { guard: 'audit', version: '0.1.0' } as const

const tally = (peers: number, ...others: PairState['state'][]): Tally => ({
  peers,
  encrypted: peers - others.filter(state => state !== 'silent').length,
  others: others.map((state, i) => ({ node: `node-${i + 2}`, state, reason: 'IPv4: why' })),
})

const condition = (counted: Tally, before?: 'True' | 'Unknown' | 'False') => {
  const { status, reason } = conditionOf(
    { enabled: true, trouble: undefined, tally: counted, by: BY },
    before && { status: before, reason: '', message: '' },
  )
  return `${status} ${reason}`
}

describe('the Node condition', () => {
  test('says how many are encrypted', () => {
    const said = conditionOf({ enabled: true, trouble: undefined, tally: tally(4), by: BY }, undefined)
    expect(said).toEqual({
      status: 'True',
      reason: 'AllPeersEncrypted',
      message: '4 of 4 peers encrypted; guard audit; podveil 0.1.0',
    })
  })

  test('is False where something goes in clear, or encryption is off', () => {
    expect(condition(tally(4, 'clear', 'joining'), 'True')).toBe('False PeersInClear')
    expect(conditionOf({ enabled: false, trouble: undefined, tally: tally(4), by: BY }, undefined)).toMatchObject({
      status: 'False',
      reason: 'EncryptionOff',
    })
  })

  test('is Unknown while this node is being turned, and not for one that joins later', () => {
    expect(condition(tally(4, 'joining'))).toBe('Unknown Proving')
    expect(condition(tally(4, 'joining'), 'Unknown')).toBe('Unknown Proving')
    expect(condition(tally(4, 'joining'), 'True')).toBe('True AllPeersEncrypted')
  })

  test('stays True for a peer that does not answer: nothing of it goes in clear', () => {
    expect(condition(tally(4, 'silent'), 'True')).toBe('True PeersNotAnswering')
  })

  test('of a node alone is True', () => {
    expect(condition(tally(0))).toBe('True NoPeers')
  })
})

test('another status is written at once, other words in their time, the same never', () => {
  const content = { status: 'True', reason: 'AllPeersEncrypted', message: '4 of 4' } as const
  const written = { content, at: 0 }
  expect(isDue(content, undefined, 4, 0)).toBe(true)
  expect(isDue({ ...content, status: 'False' }, written, 4, 1)).toBe(true)
  expect(isDue({ ...content, message: '5 of 5' }, written, 5, 14_999)).toBe(false)
  expect(isDue({ ...content, message: '5 of 5' }, written, 5, 15_000)).toBe(true)
  expect(isDue({ ...content, message: '5 of 5' }, written, 5_000, 999_999)).toBe(false)
  expect(isDue(content, written, 4, 10 ** 9)).toBe(false)
})
