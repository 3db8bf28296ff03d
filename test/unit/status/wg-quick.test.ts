import { expect, test } from 'vitest'
import { environmentLayer, resolveSettings } from '#src/cluster/felix-configuration.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { wgQuickText } from '#src/status/wg-quick.ts'
import { encryptingNode, nodeObject } from './support/nodes.ts'
import { keyOf } from './support/snapshots.ts'

const { settings } = resolveSettings([environmentLayer({})])
const nodes = [encryptingNode(1, 2), encryptingNode(2, 2), nodeObject(3, undefined)].flatMap(
  raw => projectNode(raw) ?? [],
)

test('a node’s configuration for wg-quick names every peer, and holds no private key', () => {
  const [self] = nodes
  if (!self) throw new Error('no node')
  expect(wgQuickText(self, nodes, 4, settings)).toBe(
    [
      `# node-1, IPv4: wireguard.cali as the Nodes announce it. Public key ${keyOf(1)}`,
      '[Interface]',
      'PrivateKey = <the private key of node-1: it never leaves that node>',
      'ListenPort = 51820',
      'FwMark = 0x200000',
      '# Routes and rules are not wg-quick’s to make: docs/kernel-shape.md',
      'Table = off',
      '',
      '# node-2',
      '[Peer]',
      `PublicKey = ${keyOf(2)}`,
      'Endpoint = 10.200.0.2:51820',
      'AllowedIPs = 10.244.2.0/24, 10.200.0.2/32',
    ].join('\n'),
  )
})

test('a node that announces no key has none', () => {
  const [, , silent] = nodes
  expect(silent && wgQuickText(silent, nodes, 4, settings)).toBeUndefined()
})
