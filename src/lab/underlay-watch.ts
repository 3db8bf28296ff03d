import { LabError } from './errors.ts'
import { inNamespace } from './namespaces.ts'
import { API_PORT, POD_SUPERNETS } from './plan.ts'
import { must } from './run.ts'

/**
 * What a frame on the underlay is, judged by its outermost header.
 * `podClear`: a pod's address is source or destination, and it is not inside of anything. `other`: none of the rest.
 */
export const FRAME_CLASSES = [
  'wireguard4',
  'wireguard6',
  'arp',
  'nd',
  'api',
  'podClear4',
  'podClear6',
  'other',
] as const
export type FrameClass = (typeof FRAME_CLASSES)[number]

export interface FrameCount {
  readonly packets: number
  readonly bytes: number
}

/** Counts since the watcher was armed. */
export type UnderlaySnapshot = Readonly<Record<FrameClass, FrameCount>>

/** UDP ports of the lab's WireGuard devices: Felix's two, and room for a second generation and for changes of port. */
const WIREGUARD_PORTS = '51820-51829'

const TABLE = 'podveil_lab'

/**
 * Counts every frame that crosses the bridge, in the kernel, where nothing is sampled and no reader can fall behind.
 * Frames are seen as they enter the bridge (prerouting), also those for the bridge's own address, which a forward hook
 * misses: that is where a leak by a node's default route goes.
 */
export async function armUnderlayWatch(switchNamespace: string): Promise<void> {
  await must(inNamespace(switchNamespace, ['nft', '-f', '-']), { input: ruleset() })
}

/** @throws LabError when the watcher is not armed */
export async function readUnderlayWatch(switchNamespace: string): Promise<UnderlaySnapshot> {
  const text = await must(inNamespace(switchNamespace, ['nft', '-j', 'list', 'counters', 'table', 'bridge', TABLE]))
  return parseCounters(text)
}

/** What happened between two snapshots. */
export function underlayDelta(before: UnderlaySnapshot, after: UnderlaySnapshot): UnderlaySnapshot {
  return eachClass(name => ({
    packets: after[name].packets - before[name].packets,
    bytes: after[name].bytes - before[name].bytes,
  }))
}

export const clearPodFrames = (snapshot: UnderlaySnapshot): number =>
  snapshot.podClear4.packets + snapshot.podClear6.packets

export const wireguardFrames = (snapshot: UnderlaySnapshot): number =>
  snapshot.wireguard4.packets + snapshot.wireguard6.packets

/** @throws LabError when a class is missing from what nft printed */
export function parseCounters(text: string): UnderlaySnapshot {
  const counts = new Map<string, FrameCount>()
  const { nftables } = JSON.parse(text) as {
    nftables: { counter?: { name: string; packets: number; bytes: number } }[]
  }
  for (const { counter } of nftables)
    if (counter) counts.set(counter.name, { packets: counter.packets, bytes: counter.bytes })
  return eachClass(name => {
    const count = counts.get(counterName(name))
    if (!count) throw new LabError('ERR_LAB_STATE', `the underlay watcher has no counter for ${name}`)
    return count
  })
}

const eachClass = (value: (name: FrameClass) => FrameCount): UnderlaySnapshot =>
  Object.fromEntries(FRAME_CLASSES.map(name => [name, value(name)])) as Record<FrameClass, FrameCount>

/** nft takes `arp` for the protocol. */
const counterName = (name: FrameClass): string => `c_${name}`

function ruleset(): string {
  const count = (match: string, name: FrameClass) => `${match} counter name ${counterName(name)} accept`
  const neighbourTypes =
    'nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report'
  // Pods come first, so that nothing of theirs can pass for something else. The outer header of a tunnelled packet
  // has node addresses only.
  const rules = [
    count(`ip saddr ${POD_SUPERNETS[4]}`, 'podClear4'),
    count(`ip daddr ${POD_SUPERNETS[4]}`, 'podClear4'),
    count(`ip6 saddr ${POD_SUPERNETS[6]}`, 'podClear6'),
    count(`ip6 daddr ${POD_SUPERNETS[6]}`, 'podClear6'),
    count(`ip protocol udp udp sport ${WIREGUARD_PORTS} udp dport ${WIREGUARD_PORTS}`, 'wireguard4'),
    count(`ip6 nexthdr udp udp sport ${WIREGUARD_PORTS} udp dport ${WIREGUARD_PORTS}`, 'wireguard6'),
    count('ether type arp', 'arp'),
    count(`ip6 nexthdr icmpv6 icmpv6 type { ${neighbourTypes} }`, 'nd'),
    // Multicast listener reports carry a hop-by-hop header (RFC 3810, section 5).
    count('ip6 nexthdr hopopt ip6 daddr ff00::/8', 'nd'),
    count(`tcp dport ${API_PORT}`, 'api'),
    count(`tcp sport ${API_PORT}`, 'api'),
    `counter name ${counterName('other')}`,
  ]
  return [
    `table bridge ${TABLE}`,
    `delete table bridge ${TABLE}`,
    `table bridge ${TABLE} {`,
    ...FRAME_CLASSES.map(name => `  counter ${counterName(name)} {\n  }`),
    '  chain from_nodes {',
    '    type filter hook prerouting priority 0; policy accept;',
    ...rules.map(rule => `    ${rule}`),
    '  }',
    '  chain from_switch {',
    '    type filter hook output priority 0; policy accept;',
    ...rules.map(rule => `    ${rule}`),
    '  }',
    '}',
    '',
  ].join('\n')
}
