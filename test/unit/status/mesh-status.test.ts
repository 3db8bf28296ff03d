import { expect, test } from 'vitest'
import type { Heartbeat } from '#src/cluster/heartbeat.ts'
import { plain } from '#src/status/format.ts'
import { isAsItShould, meshStatus } from '#src/status/mesh-status.ts'
import { meshView } from '#src/status/mesh-view.ts'
import { encryptingNode, keys, nodeObject, offNode } from './support/nodes.ts'
import { ago, keyOf, NOW } from './support/snapshots.ts'

const view = (objects: unknown[]): string => meshView(meshStatus(objects), NOW, plain)

test('a mesh that is encrypted is one line of verdict and a row for each node', () => {
  const objects = [encryptingNode(10, 1), encryptingNode(9, 1)]
  expect(view(objects)).toBe(
    [
      'encrypted: pod traffic between all of 2 nodes',
      '',
      'NODE      ADDRESS       KEY        STATE       SINCE   PEERS   GUARD   VERSION',
      `node-9    10.200.0.9    ${keyOf(9).slice(0, 8)}   encrypted   60m     1/1     audit   0.1.0`,
      `node-10   10.200.0.10   ${keyOf(10).slice(0, 8)}   encrypted   60m     1/1     audit   0.1.0`,
    ].join('\n'),
  )
  expect(isAsItShould(meshStatus(objects))).toBe(true)
})

test('the worst node comes first, with the peer and the reason', () => {
  const blocked = { node: 'node-3', state: 'clear', reason: 'IPv4: no handshake yet' } as const
  const status = meshStatus([encryptingNode(1, 2), encryptingNode(2, 2, [blocked]), encryptingNode(3, 2)])
  expect(status.verdict).toBe('not-encrypted')
  expect(status.nodes[0]).toMatchObject({
    name: 'node-2',
    state: 'in clear',
    encryptedPeers: 1,
    peers: 2,
    why: 'in clear: node-3 (IPv4: no handshake yet)',
  })
  expect(isAsItShould(status)).toBe(false)
})

test('a peer that does not answer is no clear text, and not as it should be', () => {
  const status = meshStatus([
    encryptingNode(1, 1, [{ node: 'node-2', state: 'silent', reason: 'IPv4: blocked' }]),
    encryptingNode(2, 1),
  ])
  expect(status.verdict).toBe('not-answering')
  // Its condition has been True for an hour, and does not say since when the peer is silent.
  expect(status.nodes.map(({ state, since }) => [state, since])).toEqual([
    ['not answering', null],
    ['encrypted', ago(3600)],
  ])
  expect(isAsItShould(status)).toBe(false)
})

/** Agents that renewed so many seconds ago; null for one that never did. */
const liveness = (...ages: (number | null)[]) => ({
  now: NOW,
  heartbeats: new Map(
    ages.flatMap((age, i): [string, Heartbeat][] => {
      const node = `node-${i + 1}`
      return age === null ? [] : [[node, { node, renewed: ago(age), duration: 300, latestHandshake: ago(age + 60) }]]
    }),
  ),
})

test('a node whose agent has not been heard of is not taken for encrypted', () => {
  const objects = [encryptingNode(1, 2), encryptingNode(2, 2), encryptingNode(3, 2)]
  expect(meshStatus(objects, liveness(10, 20, 299)).verdict).toBe('encrypted')
  const status = meshStatus(objects, liveness(10, 720, null))
  expect(status.verdict).toBe('unknown')
  expect(isAsItShould(status)).toBe(false)
  expect(status.nodes.map(({ name, state }) => `${name} ${state}`)).toEqual([
    'node-2 unknown',
    'node-3 unknown',
    'node-1 encrypted',
  ])
  expect(status.nodes[0]?.why).toMatch(/^its agent has not been heard of for 12m/)
  expect(status.nodes.map(({ since }) => since)).toEqual([ago(720), null, ago(3600)])
  expect(status.nodes[1]?.why).toMatch(/^its agent renews no Lease/)
  expect(status.nodes[2]?.latestHandshake).toBe(ago(70))
})

test('a dead agent makes nothing better', () => {
  const blocked = { node: 'node-2', state: 'clear', reason: 'IPv4: no handshake yet' } as const
  const status = meshStatus([encryptingNode(1, 1, [blocked]), encryptingNode(2, 1)], liveness(720, 10))
  expect(status).toMatchObject({ verdict: 'not-encrypted', nodes: [{ name: 'node-1', state: 'in clear' }, {}] })
})

test('a mesh that is off is as it should be', () => {
  const status = meshStatus([offNode(1), offNode(2)])
  expect(status.verdict).toBe('off')
  expect(isAsItShould(status)).toBe(true)
})

test('a node on which encryption is off, in a mesh where it is on, goes in clear', () => {
  expect(meshStatus([encryptingNode(1, 1), offNode(2)])).toMatchObject({
    verdict: 'not-encrypted',
    nodes: [{ name: 'node-2', state: 'in clear' }, { name: 'node-1' }],
  })
})

test('a node whose agent never reported is told apart from one of Calico', () => {
  const { 'podveil.io/hello': _, ...felix } = keys(3)
  const { nodes } = meshStatus([encryptingNode(1, 2), nodeObject(2, undefined), nodeObject(3, undefined, felix)])
  expect(nodes.map(({ name, state }) => `${name} ${state}`)).toEqual([
    'node-2 no agent',
    'node-3 calico',
    'node-1 encrypted',
  ])
})

test('a key that somebody took from the Node contradicts the condition', () => {
  const told = encryptingNode(1, 1)
  told.metadata.annotations = {}
  expect(meshStatus([told, encryptingNode(2, 1)]).nodes[0]).toMatchObject({ name: 'node-1', state: 'in clear' })
})

test('whatever is no Node is passed over', () => {
  expect(meshStatus([null, 7, {}, { metadata: { name: 'NOT a name' } }]).nodes).toEqual([])
})
