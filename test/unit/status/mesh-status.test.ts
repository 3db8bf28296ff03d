import { expect, test } from 'vitest'
import { plain } from '#src/status/format.ts'
import { isAsItShould, meshStatus } from '#src/status/mesh-status.ts'
import { meshView } from '#src/status/mesh-view.ts'
import { encryptingNode, keys, nodeObject, offNode } from './support/nodes.ts'
import { keyOf, NOW } from './support/snapshots.ts'

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
  expect(isAsItShould(status)).toBe(false)
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
