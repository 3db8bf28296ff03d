import type { LabNode } from '#src/lab/lab.ts'
import { onNode } from './with-mesh.ts'

/**
 * Everything in a node's kernel that an agent sets, as the tools show it, less what changes by itself: counters,
 * handshakes, lifetimes.
 */
export async function kernelState(node: LabNode): Promise<Record<string, string>> {
  const show = (script: string) => onNode(node, script)
  return {
    rules: await show('ip -4 rule; ip -6 rule'),
    routes: await show('ip -4 route show table all; ip -6 route show table all'),
    addresses: withoutLifetimes(await show('ip address')),
    links: await show('ip -d link'),
    wireguard: withoutTraffic(await show('wg show all dump')),
    filter: (await show('nft list ruleset')).replaceAll(/packets \d+ bytes \d+/g, ''),
    sysctls: await show('sysctl net.ipv4.conf.all.src_valid_mark; sysctl -a 2>/dev/null | grep rp_filter'),
  }
}

/** What of a mesh is left on a node; nothing when it is empty. */
export async function traces(node: LabNode): Promise<string[]> {
  const text = await onNode(
    node,
    [
      'ip -o link | grep -E "wireguard.cali|wg-v6.cali" || true',
      'for family in 4 6; do',
      '  ip -$family rule | grep -vE "lookup (local|main|default)" || true',
      '  for table in 1 2 3; do ip -$family route show table $table 2>/dev/null || true; done',
      'done',
      'wg show all dump | cut -f 1',
      'nft list tables | grep podveil || true',
    ].join('\n'),
  )
  return text.split('\n').filter(line => line !== '')
}

const withoutLifetimes = (text: string): string => text.replaceAll(/(valid|preferred)_lft \S+/g, '')

/** Columns of `wg show all dump` for a peer: device, key, preshared key, endpoint, allowed IPs, handshake, received, sent, keepalive. */
function withoutTraffic(dump: string): string {
  const lines = dump.trimEnd().split('\n')
  return lines
    .map(line => {
      const columns = line.split('\t')
      if (columns.length !== 9) return columns.join(' ')
      const [device, key, preshared, endpoint, allowedIps, , , , keepalive] = columns
      return [device, key, preshared, endpoint, allowedIps?.split(',').toSorted().join(), keepalive].join(' ')
    })
    .toSorted()
    .join('\n')
}
