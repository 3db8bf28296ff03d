import { claimCidrs, podCidrSource } from '#src/mesh/claims.ts'
import { wireguardMark } from '#src/mesh/marks.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import { nodeAddresses } from '#src/mesh/record-facts.ts'
import type { FelixSettings } from '#src/mesh/settings.ts'
import { addressBits, type Family, familyOf, formatEndpoint } from '#wg/ip.ts'
import { byName } from './format.ts'

/**
 * The configuration of one node's device as wg-quick(8) reads it, by what the Nodes announce. In place of the private key,
 * which never leaves its node, is a placeholder.
 * @returns undefined where the node announces no key of that family
 */
export function wgQuickText(
  self: NodeRecord,
  nodes: readonly NodeRecord[],
  family: Family,
  settings: FelixSettings,
): string | undefined {
  const own = self.announced[family]
  if (!own) return undefined
  const { listeningPort, interfaceName } = settings.wireguard[family]
  const cidrs = claimCidrs(nodes, podCidrSource, family)
  const keepalive = settings.persistentKeepalive
  const peers = nodes
    .filter(node => node.name !== self.name && node.announced[family])
    .sort((a, b) => byName(a.name, b.name))
    .map(node => {
      const { publicKey, port } = node.announced[family] ?? { publicKey: '', port: undefined }
      const [address] = nodeAddresses(node, family)
      return [
        `# ${node.name}`,
        '[Peer]',
        `PublicKey = ${publicKey}`,
        ...(node.podCidrs.some(cidr => familyOf(cidr) === family)
          ? []
          : ['# Its pods’ addresses are not on its Node: podveil show, on a node, has them']),
        ...(address ? [`Endpoint = ${formatEndpoint({ address, port: port ?? listeningPort })}`] : []),
        `AllowedIPs = ${[...cidrs.addresses(node.name)].join(', ')}`,
        ...(keepalive > 0 ? [`PersistentKeepalive = ${keepalive}`] : []),
      ]
    })
  const head = [
    `# ${self.name}, IPv${family}: ${interfaceName} as the Nodes announce it. Public key ${own.publicKey}`,
    '[Interface]',
    `PrivateKey = <the private key of ${self.name}: it never leaves that node>`,
    ...(own.interfaceAddress ? [`Address = ${own.interfaceAddress}/${addressBits(family)}`] : []),
    `ListenPort = ${own.port ?? listeningPort}`,
    `FwMark = 0x${wireguardMark(settings.markMask).toString(16)}`,
    '# Routes and rules are not wg-quick’s to make: docs/kernel-shape.md',
    'Table = off',
  ]
  return [head, ...peers].map(lines => lines.join('\n')).join('\n\n')
}
