import { describe, expect, test } from 'vitest'
import { plain } from '#src/status/format.ts'
import { nodeStatus } from '#src/status/node-status.ts'
import { nodeView } from '#src/status/node-view.ts'
import {
  ago,
  family4,
  kernel,
  kernelFamily,
  keyOf,
  NOW,
  onSpare,
  peer,
  snapshot,
  withoutRoute,
  withoutRule,
} from './support/snapshots.ts'

test('pairs that agent and kernel agree on', () => {
  const status = nodeStatus(snapshot(), kernel(), NOW)
  expect(nodeView(status, NOW, plain)).toBe(
    [
      'node-1: encrypted: all of 2 pairs',
      '',
      'PEER     IP   STATE       SINCE   ENDPOINT           KEY        HANDSHAKE   RX        TX',
      `node-2   4    encrypted   5m      10.200.0.2:51820   ${keyOf(2).slice(0, 8)}   60s         2.0 KiB   1.0 KiB`,
      `node-3   4    encrypted   5m      10.200.0.3:51820   ${keyOf(3).slice(0, 8)}   60s         2.0 KiB   1.0 KiB`,
      '',
      'podveil 0.1.0, WireGuard kernel, guard audit, agent wrote 5s ago',
    ].join('\n'),
  )
})

test('what the other nodes are read from is told where it is not their Nodes', () => {
  const reading = (peerSource: string) => {
    const { settings } = snapshot()
    return nodeView(nodeStatus(snapshot({ settings: { ...settings, peerSource } }), kernel(), NOW), NOW, plain)
  }
  expect(reading('MeshNodes')).toMatch(/guard audit, other nodes read from MeshNodes, agent wrote/)
  expect(reading('Nodes')).not.toContain('read from')
})

test('a pair whose agents exchange echoes has round trip and loss; of another nothing is said', () => {
  const measured = peer(2, { echo: { roundTripSeconds: 0.000_42, loss: 0.125 } })
  const unanswered = peer(3, { echo: { roundTripSeconds: null, loss: 1 } })
  const status = nodeStatus(snapshot({ families: [family4({ peers: [measured, unanswered] })] }), kernel(), NOW)
  const lines = nodeView(status, NOW, plain).split('\n')
  expect(lines[2]).toMatch(/ RTT +LOSS$/)
  expect(lines[3]).toMatch(/^node-2 .* 0\.42 ms +13 %$/)
  expect(lines[4]).toMatch(/^node-3 .* - +100 %$/)
})

test('a pair whose path carries less than the tunnel says so, though it is encrypted', () => {
  const peers = [peer(2, { pathMtu: 1232 }), peer(3)]
  const status = nodeStatus(snapshot({ families: [family4({ peers })] }), kernel(), NOW)
  const lines = nodeView(status, NOW, plain).split('\n')
  expect(lines[3]).toMatch(/^node-2 .* path MTU 1232$/)
  expect(lines[4]).not.toContain('MTU')
})

test('a pair that is on the spare devices is encrypted, by the word of the kernel', () => {
  const status = nodeStatus(snapshot(), kernel(onSpare()), NOW)
  expect(status.pairs.find(({ node }) => node === 'node-2')).toMatchObject({
    ...{ state: 'encrypted', endpoint: '10.200.0.2:51822', disagreements: [] },
  })
})

describe('the kernel wins where it says something else than the agent', () => {
  test.each([
    ['a route is gone', withoutRoute('10.244.2.0/24'), 'the kernel does not route 10.244.2.0/24 into wireguard.cali'],
    ['the rule is gone', withoutRule(99), 'the kernel has no rule that leads to its routes'],
    ['the device is gone', { link: undefined, device: undefined }, 'the kernel has no such peer'],
    ['the device is down', { link: { ...must(kernelFamily().link), up: false } }, 'wireguard.cali is down'],
  ])('%s', (_, changes, said) => {
    const status = nodeStatus(snapshot(), kernel(changes), NOW)
    expect(status.verdict).toBe('not-encrypted')
    expect(status.pairs[0]).toMatchObject({ node: 'node-2', state: 'in clear', disagreements: [said] })
  })

  test('a peer that the agent does not know is shown', () => {
    const status = nodeStatus(snapshot({ families: [family4({ peers: [peer(2)] })] }), kernel(), NOW)
    expect(status.pairs[0]).toMatchObject({ node: '?', state: 'unknown', publicKey: keyOf(3) })
  })
})

test('a peer that has not proven itself in time goes in clear, with the reason', () => {
  const waiting = peer(3, { phase: 'accepting', since: ago(40), reason: 'no handshake yet', steered: [] })
  const told = snapshot({ families: [family4({ peers: [peer(2), waiting] })] })
  expect(nodeStatus(told, kernel(withoutRoute('10.244.3.0/24')), NOW)).toMatchObject({
    verdict: 'not-encrypted',
    pairs: [{ node: 'node-3', state: 'in clear', why: 'no handshake yet' }, { node: 'node-2' }],
  })
  const young = snapshot({ families: [family4({ peers: [peer(2), { ...waiting, since: ago(3) }] })] })
  expect(nodeStatus(young, kernel(withoutRoute('10.244.3.0/24')), NOW).verdict).toBe('turning')
})

test('an agent that is dead is told, and its kernel still shown', () => {
  const status = nodeStatus(snapshot({ time: ago(600) }), kernel(), NOW)
  expect(status.verdict).toBe('encrypted')
  expect(status.troubles[0]).toContain('the agent has written nothing for 600 s')
})

test('without the kernel the agent is believed, and the reason is given', () => {
  const status = nodeStatus(snapshot(), undefined, NOW, ['the kernel cannot be read: EPERM'])
  expect(status).toMatchObject({ verdict: 'encrypted', troubles: ['the kernel cannot be read: EPERM'] })
})

test('a node without any agent says that nothing is known', () => {
  expect(nodeStatus(undefined, kernel(), NOW)).toMatchObject({
    verdict: 'unknown',
    pairs: [{ node: '?' }, { node: '?' }],
  })
})

test('claims that were refused are among the troubles', () => {
  const told = snapshot({
    families: [family4({ refused: [{ node: 'node-9', claim: 'it announces the key of node-2' }] })],
  })
  expect(nodeStatus(told, kernel(), NOW).troubles).toEqual(['refused of node-9: it announces the key of node-2'])
})

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('missing')
  return value
}
