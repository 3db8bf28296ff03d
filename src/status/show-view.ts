import { type Family, formatEndpoint } from '#wg/ip.ts'
import { byName, bytes, duration, type Paint } from './format.ts'
import type { KernelFamily } from './node-kernel.ts'
import type { NodeSnapshot } from './snapshot.ts'

/** Node names by public key, as the agent knows them. */
export function namesByKey(snapshot: NodeSnapshot | undefined, family: Family): Map<string, string> {
  const names = new Map<string, string>()
  for (const peer of snapshot?.families.find(one => one.family === family)?.peers ?? []) {
    if (peer.candidate !== null) names.set(peer.candidate, `${peer.node} (new key)`)
    if (peer.publicKey !== null) names.set(peer.publicKey, peer.node)
  }
  return names
}

/** A device as `wg show` prints it, with node names in place of keys. @param now Unix time in milliseconds */
export function showView(
  { device }: Pick<KernelFamily, 'device'>,
  names: ReadonlyMap<string, string>,
  now: number,
  paint: Paint,
): string | undefined {
  if (!device) return undefined
  const head = [
    `${paint('good', 'interface')}: ${paint('good', device.name)}`,
    `  public key: ${device.publicKey ?? '(none)'}`,
    `  listening port: ${device.listenPort}`,
    ...(device.fwmark === 0 ? [] : [`  fwmark: 0x${device.fwmark.toString(16)}`]),
  ]
  const peers = [...device.peers.values()]
    .map(peer => ({ name: names.get(peer.publicKey), peer }))
    .sort((a, b) => Number(a.name === undefined) - Number(b.name === undefined) || byName(a.name ?? '', b.name ?? ''))
    .map(({ name, peer }) => [
      `${paint('warn', 'peer')}: ${paint('warn', name ?? peer.publicKey)}`,
      ...(name === undefined ? ['  node: (no node that the agent knows)'] : [`  public key: ${peer.publicKey}`]),
      ...(peer.endpoint ? [`  endpoint: ${formatEndpoint(peer.endpoint)}`] : []),
      `  allowed ips: ${[...peer.allowedIps].join(', ') || '(none)'}`,
      ...(peer.latestHandshake === 0n ? [] : [`  latest handshake: ${handshake(peer.latestHandshake, now)}`]),
      ...(peer.rxBytes + peer.txBytes === 0n
        ? []
        : [`  transfer: ${bytes(Number(peer.rxBytes))} received, ${bytes(Number(peer.txBytes))} sent`]),
      ...(peer.persistentKeepalive === 0 ? [] : [`  persistent keepalive: every ${peer.persistentKeepalive} seconds`]),
    ])
  return [head, ...peers].map(lines => lines.join('\n')).join('\n\n')
}

const handshake = (nanoseconds: bigint, now: number): string =>
  `${duration(now - Number(nanoseconds / 1_000_000n))} ago`
