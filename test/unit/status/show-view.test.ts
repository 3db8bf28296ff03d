import { expect, test } from 'vitest'
import { plain } from '#src/status/format.ts'
import { namesByKey, showView } from '#src/status/show-view.ts'
import { family4, kernelFamily, keyOf, NOW, peer, snapshot } from './support/snapshots.ts'

test('a device is shown as wg does, with node names', () => {
  const told = snapshot({ families: [family4({ peers: [peer(2)] })] })
  expect(showView(kernelFamily(), namesByKey(told, 4), NOW, plain)).toBe(
    [
      'interface: wireguard.cali',
      `  public key: ${keyOf(1)}`,
      '  listening port: 51820',
      '  fwmark: 0x200000',
      '',
      'peer: node-2',
      `  public key: ${keyOf(2)}`,
      '  endpoint: 10.200.0.2:51820',
      '  allowed ips: 10.244.2.0/24, 10.200.0.2/32',
      '  latest handshake: 60s ago',
      '  transfer: 2.0 KiB received, 1.0 KiB sent',
      '',
      `peer: ${keyOf(3)}`,
      '  node: (no node that the agent knows)',
      '  endpoint: 10.200.0.3:51820',
      '  allowed ips: 10.244.3.0/24, 10.200.0.3/32',
      '  latest handshake: 60s ago',
      '  transfer: 2.0 KiB received, 1.0 KiB sent',
    ].join('\n'),
  )
})

test('where there is no device there is nothing to show', () => {
  expect(showView({ ...kernelFamily(), device: undefined }, new Map(), NOW, plain)).toBeUndefined()
})
