import { expect, test } from 'vitest'
import { DevicePoll } from '#src/agent/device-poll.ts'

/** That was read at a moment. */
const readAt = (now: number, encryptsHosts = false): DevicePoll => {
  const poll = new DevicePoll()
  poll.noteRead(now, encryptsHosts)
  return poll
}

test('devices that were never read are to be read at once', () => {
  expect(new DevicePoll().at).toBe(0)
})

test('at rest they are read every ten seconds, and every five where hosts depend on tunnels that answer', () => {
  expect(readAt(1_000).at).toBe(11_000)
  expect(readAt(1_000, true).at).toBe(6_000)
})

test.each([
  [0, 500],
  [3, 500],
  [1_000, 500],
  [2_000, 1_000],
  [5_000, 2_500],
  [20_000, 2_500],
])('while a pair of %i is changing they are read every %i ms', (peers, gap) => {
  const poll = readAt(1_000)
  poll.hurry(1_000, peers)
  expect(poll.at).toBe(1_000 + gap)
})

test.each([
  [1_499, 'nothing'],
  [1_500, 'changing'],
  [10_999, 'changing'],
  [11_000, 'all'],
])('while a pair is changing, %i ms on the clock, what is due is %s', (now, due) => {
  const poll = readAt(1_000)
  poll.hurry(1_000, 3)
  expect(poll.due(now, 1, 100)).toBe(due)
})

test('a look at what is changing does not put off the one at all', () => {
  const poll = readAt(1_000)
  poll.hurry(1_000, 3)
  poll.noteLook()
  expect([poll.at, poll.due(10_999, 1, 100), poll.wasReadAt(1_500)]).toEqual([11_000, 'nothing', false])
})

test('a look that is due stays due, however often something changes meanwhile', () => {
  const poll = readAt(1_000)
  poll.hurry(1_000, 3)
  poll.hurry(1_400, 3)
  expect(poll.at).toBe(1_500)
})

test('what is not believed any more is to be read at once', () => {
  const poll = readAt(1_000)
  poll.distrust()
  expect(poll.at).toBe(0)
})

test('what was read is of the moment in which it was', () => {
  const poll = readAt(1_000)
  expect([poll.wasReadAt(1_000), poll.wasReadAt(1_001)]).toEqual([true, false])
})

test.each([
  [12, 100, 'changing'],
  [13, 100, 'all'],
  [1, 7, 'all'],
  [0, 0, 'changing'],
])('where %i of %i peers are of changing pairs what is due is %s', (changing, peers, due) => {
  const poll = readAt(1_000)
  poll.hurry(1_000, peers)
  expect(poll.due(1_500, changing, peers)).toBe(due)
})
