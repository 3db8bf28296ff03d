import type { LabNode } from '#src/lab/lab.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit } from './profile.ts'
import { onNode } from './with-mesh.ts'

/**
 * Everything in a node's kernel that an agent sets, as the tools show it, less what changes by itself: counters,
 * handshakes, lifetimes.
 */
export async function kernelState(node: LabNode): Promise<Record<string, string>> {
  const script = Object.values(SHOWN).join(`; echo "${SEPARATOR}"; `)
  const parts = (await onNode(node, script)).split(`${SEPARATOR}\n`)
  const shown = Object.fromEntries(Object.keys(SHOWN).map((name, i) => [name, parts[i] ?? '']))
  return {
    ...shown,
    addresses: withoutLifetimes(shown.addresses ?? ''),
    wireguard: withoutTraffic(shown.wireguard ?? ''),
    filter: (shown.filter ?? '').replaceAll(/packets \d+ bytes \d+/g, ''),
  }
}

/** One shell for all of them: entering a node takes longer than asking it. */
const SHOWN = {
  rules: 'ip -4 rule; ip -6 rule',
  routes: 'ip -4 route show table all; ip -6 route show table all',
  addresses: 'ip address',
  links: 'ip -d link',
  wireguard: 'wg show all dump',
  filter: 'nft list ruleset',
  sysctls: 'cd /proc/sys/net/ipv4/conf; grep . all/src_valid_mark */rp_filter',
} as const
const SEPARATOR = '--- next'

/** The same once all has been learned: the guard learns a little later than the routes that the other side steers as well. */
export async function settledState(node: LabNode): Promise<Record<string, string>> {
  const unarmed = () => onNode(node, 'nft list set inet podveil unarmed4; nft list set inet podveil unarmed6')
  await waitFor(async () => !(await unarmed()).includes('elements'), limit(15_000), 'the guard to be armed')
  return await kernelState(node)
}

/**
 * The states of all nodes of a mesh, each with names in place of the nodes' public keys: what two meshes of the same shape have
 * in common.
 */
export function withoutKeys(states: readonly Record<string, string>[]): Record<string, string>[] {
  const devices = states.flatMap(({ wireguard = '' }, i) =>
    wireguard.split('\n').flatMap(line => {
      const [device = '', key = '', ...rest] = line.split(' ')
      return rest.length === 2 ? [[key, `node ${i + 1}'s ${device}`] as const] : []
    }),
  )
  const named = (text: string) => devices.reduce((so, [key, name]) => so.replaceAll(key, name), text)
  return states.map(state => ({ ...state, wireguard: named(state.wireguard ?? '') }))
}

/** Without the numbers that a link made anew does not get again, and addresses that the kernel gives by itself. */
export function comparable(state: Record<string, string>): Record<string, string> {
  const lines = (text: string) => text.split('\n').filter(line => !/\bfe80:|multicast|^\s*$/.test(line))
  const plain = (text: string) => text.replace(/^\d+: /, '').replaceAll(/ (index|if)\d+/g, '')
  return Object.fromEntries(
    Object.entries(state).map(([name, text]) => [name, lines(text).map(plain).toSorted().join('\n')]),
  )
}

/** What of a mesh is left on a node; nothing when it is empty. */
export async function traces(node: LabNode): Promise<string[]> {
  const text = await onNode(
    node,
    [
      'ip -o link | grep -E "wireguard.cali|wg-v6.cali|wg-spare" || true',
      'for family in 4 6; do',
      '  ip -$family rule | grep -vE "lookup (local|main|default)" || true',
      '  for table in 1 2 3 4; do ip -$family route show table $table 2>/dev/null || true; done',
      'done',
      'wg show all dump | cut -f 1',
      'nft list tables | grep podveil || true',
    ].join('\n'),
  )
  return text.split('\n').filter(line => line !== '')
}

const withoutLifetimes = (text: string): string => text.replaceAll(/(valid|preferred)_lft \S+/g, '')

/**
 * Columns of `wg show all dump` for a device: its name, private key, public key, port, mark; for a peer: device, key, preshared
 * key, endpoint, allowed IPs, handshake, received, sent, keepalive.
 */
function withoutTraffic(dump: string): string {
  const lines = dump.trimEnd().split('\n')
  return lines
    .map(line => {
      const columns = line.split('\t')
      if (columns.length !== 9) return columns.toSpliced(1, 1).join(' ')
      const [device, key, preshared, endpoint, allowedIps, , , , keepalive] = columns
      return [device, key, preshared, endpoint, allowedIps?.split(',').toSorted().join(), keepalive].join(' ')
    })
    .toSorted()
    .join('\n')
}
