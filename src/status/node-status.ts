import type { PublicKey } from '#keys/public-key.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { type Cidr, type Family, formatEndpoint } from '#wg/ip.ts'
import { byName } from './format.ts'
import { type KernelFamily, type NodeKernel, tunnelAt } from './node-kernel.ts'
import {
  type EchoSnapshot,
  type FamilySnapshot,
  handshakeTime,
  type NodeSnapshot,
  type PeerSnapshot,
  STALE,
} from './snapshot.ts'
import { PATIENCE, SILENT } from './tally.ts'

/** One pair of this node with another in one family, as the kernel has it and the agent explains it. */
export interface PairStatus {
  readonly node: string
  readonly family: Family
  readonly state: 'in clear' | 'not answering' | 'turning' | 'leaving' | 'unknown' | 'encrypted' | 'off'
  /** RFC 3339. */
  readonly since: string | null
  readonly endpoint: string | null
  readonly publicKey: string | null
  /** RFC 3339; null for never. */
  readonly latestHandshake: string | null
  readonly rxBytes: number
  readonly txBytes: number
  /** Null for not known. */
  readonly echo: EchoSnapshot | null
  /** Bytes; null where the path is not known to carry less than the tunnel's MTU. */
  readonly pathMtu: number | null
  readonly why: string
  /** What the kernel holds and the agent does not say, or the other way about; the kernel is believed. */
  readonly disagreements: readonly string[]
}

export interface NodeStatus {
  readonly node: string | null
  readonly verdict: 'encrypted' | 'turning' | 'not-answering' | 'not-encrypted' | 'off' | 'unknown'
  /** When the agent last wrote; null where it never did. */
  readonly agentWrote: string | null
  /** What is wrong with the node as a whole. */
  readonly troubles: readonly string[]
  /** The worst first. */
  readonly pairs: readonly PairStatus[]
  readonly snapshot: NodeSnapshot | null
}

/**
 * What this node's kernel does, with the agent's reasons.
 * @param kernel undefined where it could not be read: then the agent is believed, and `unreadable` says why it had to be
 * @param now Unix time in milliseconds
 */
export function nodeStatus(
  snapshot: NodeSnapshot | undefined,
  kernel: NodeKernel | undefined,
  now: number,
  notes: readonly string[] = [],
): NodeStatus {
  const families = (snapshot?.families ?? []).filter(({ enabled, device }) => enabled || device)
  const pairs = families.flatMap(family => familyPairs(family, kernel?.families[family.family], now))
  const foreign = kernel ? [4, 6].flatMap(family => strangers(kernel.families[family as Family], snapshot)) : []
  const troubles = [
    ...notes,
    ...(snapshot ? snapshotTroubles(snapshot, now) : []),
    ...(kernel ? families.flatMap(family => familyTroubles(family, kernel.families[family.family])) : []),
  ]
  const all = [...pairs, ...foreign].sort(worstFirst)
  return {
    node: snapshot?.node ?? null,
    verdict: verdictOf(snapshot, families, all),
    agentWrote: snapshot?.time ?? null,
    troubles,
    pairs: all,
    snapshot: snapshot ?? null,
  }
}

const WORST_FIRST: readonly PairStatus['state'][] = [
  ...(['in clear', 'unknown', 'not answering', 'turning', 'leaving', 'encrypted', 'off'] as const),
]

const worstFirst = (a: PairStatus, b: PairStatus): number =>
  WORST_FIRST.indexOf(a.state) - WORST_FIRST.indexOf(b.state) || byName(a.node, b.node) || a.family - b.family

function verdictOf(
  snapshot: NodeSnapshot | undefined,
  families: readonly FamilySnapshot[],
  pairs: readonly PairStatus[],
): NodeStatus['verdict'] {
  if (!snapshot) return 'unknown'
  if (!families.some(({ enabled }) => enabled)) return 'off'
  const has = (...states: PairStatus['state'][]) => pairs.some(({ state }) => states.includes(state))
  if (has('in clear')) return 'not-encrypted'
  if (has('not answering')) return 'not-answering'
  return has('turning') ? 'turning' : 'encrypted'
}

function snapshotTroubles(snapshot: NodeSnapshot, now: number): string[] {
  const age = now - Date.parse(snapshot.time)
  return [
    ...(age > STALE
      ? [
          `the agent has written nothing for ${Math.round(age / 1000)} s: does it run? What follows is the kernel's word, with the agent's last reasons`,
        ]
      : []),
    ...snapshot.troubles,
    ...snapshot.guard.refusals,
    ...snapshot.refusedSettings,
    ...snapshot.families.flatMap(({ refused }) => refused.map(({ node, claim }) => `refused of ${node}: ${claim}`)),
  ]
}

/** What the kernel must hold for anything to be steered at all. */
function familyTroubles(family: FamilySnapshot, kernel: KernelFamily): string[] {
  if (!family.enabled) return []
  const name = family.interfaceName
  if (!kernel.link) return [`${name} is not there: IPv${family.family} goes in clear`]
  if (!kernel.device) return [`${name} is no WireGuard device that can be read`]
  const troubles: string[] = []
  if (!kernel.link.up)
    troubles.push(`${name} is down: bring it up with "ip link set ${name} up", or let the agent do it`)
  if (!hasMeshRule(family, kernel))
    troubles.push(
      `the rule "not fwmark lookup ${family.tables.mesh}" at priority ${family.rulePriority} is gone: IPv${family.family} goes in clear`,
    )
  if (family.device && kernel.device.publicKey !== family.device.publicKey)
    troubles.push(`${name} has another key than the agent gave it`)
  return troubles
}

export const hasMeshRule = ({ rulePriority, tables, mark }: FamilySnapshot, { rules }: KernelFamily): boolean =>
  rules.some(
    rule =>
      rule.priority === rulePriority &&
      rule.action === 'lookup' &&
      rule.table === tables.mesh &&
      rule.invert === true &&
      rule.fwmark === mark,
  )

function familyPairs(family: FamilySnapshot, kernel: KernelFamily | undefined, now: number): PairStatus[] {
  return family.peers
    .filter(({ phase, addresses, podCidrs }) => phase !== 'absent' || addresses.length + podCidrs.length > 0)
    .map(peer => (kernel ? seenPair(family, peer, kernel, now) : toldPair(family, peer, now)))
}

function seenPair(family: FamilySnapshot, peer: PeerSnapshot, kernel: KernelFamily, now: number): PairStatus {
  const told = toldPair(family, peer, now)
  const held = heldPeer(family, peer, kernel)
  const steered = steeredInto(family, kernel)
  const inClear = (held ? [...held.allowedIps] : peer.podCidrs).filter(
    cidr => peer.podCidrs.includes(cidr) && !steered.has(cidr as Cidr),
  )
  const disagreements: string[] = []
  const claims = peer.phase === 'encrypting'
  if (claims && !held) disagreements.push('the kernel has no such peer')
  if (claims && held && !hasMeshRule(family, kernel))
    disagreements.push('the kernel has no rule that leads to its routes')
  else if (claims && held && inClear.length > 0)
    disagreements.push(`the kernel does not route ${inClear.join(', ')} into ${family.interfaceName}`)
  if (claims && kernel.link && !kernel.link.up) disagreements.push(`${family.interfaceName} is down`)
  const turned =
    peer.phase === 'accepting' &&
    held &&
    peer.podCidrs.length > 0 &&
    inClear.length === 0 &&
    hasMeshRule(family, kernel)
  if (turned) disagreements.push('the kernel sends to it through the tunnel already')
  return {
    ...told,
    ...(claims && disagreements.length > 0 ? { state: 'in clear' as const } : {}),
    ...(turned ? { state: 'encrypted' as const } : {}),
    ...(held && {
      endpoint: held.endpoint ? formatEndpoint(held.endpoint) : null,
      latestHandshake: handshakeTime(held.latestHandshake),
      rxBytes: Number(held.rxBytes),
      txBytes: Number(held.txBytes),
    }),
    disagreements,
  }
}

function toldPair({ family, enabled }: FamilySnapshot, peer: PeerSnapshot, now: number): PairStatus {
  const {
    node,
    phase,
    since,
    endpoint,
    publicKey,
    latestHandshake,
    rxBytes,
    txBytes,
    reason,
    silentSince,
    echo,
    pathMtu,
  } = peer
  const young = now - Date.parse(since) < PATIENCE
  return {
    ...{ node, family, endpoint, publicKey, latestHandshake, rxBytes, txBytes, echo, pathMtu },
    since: silentSince ?? since,
    state: enabled ? stateOf(phase, young, silentSince !== null) : phase === 'lingering' ? 'leaving' : 'off',
    why: silentSince === null ? reason : SILENT,
    disagreements: [],
  }
}

function stateOf(phase: PeerSnapshot['phase'], young: boolean, silent: boolean): PairStatus['state'] {
  switch (phase) {
    case 'encrypting':
      return silent ? 'not answering' : 'encrypted'
    case 'accepting':
      return young ? 'turning' : 'in clear'
    case 'lingering':
      return 'leaving'
    case 'absent':
      return young ? 'turning' : 'in clear'
  }
}

/** The kernel's peer of the device that the pair's traffic is on; that of the main one where it is on none. */
function heldPeer(
  { tables }: FamilySnapshot,
  { publicKey, podCidrs }: PeerSnapshot,
  kernel: KernelFamily,
): PeerStatus | undefined {
  if (publicKey === null) return undefined
  const route = kernel.routes.get(tables.mesh)?.find(({ destination }) => podCidrs.includes(destination))
  const carrier = tunnelAt(kernel, route?.device)?.device ?? kernel.device
  return carrier?.peers.get(publicKey as PublicKey) ?? kernel.device?.peers.get(publicKey as PublicKey)
}

/** Destinations that have a route into the tunnel in the mesh's tables. */
function steeredInto({ tables }: FamilySnapshot, kernel: KernelFamily): Set<Cidr> {
  const { routes } = kernel
  const found = [...(routes.get(tables.mesh) ?? []), ...(routes.get(tables.nodes) ?? [])]
  return new Set(
    found.filter(({ type, device }) => type === 'unicast' && tunnelAt(kernel, device)).map(r => r.destination),
  )
}

/** Peers of the device that the agent has not told of. */
function strangers(kernel: KernelFamily, snapshot: NodeSnapshot | undefined): PairStatus[] {
  const family = snapshot?.families.find(one => one.family === kernel.family)
  const known = new Set(family?.peers.flatMap(({ publicKey, candidate }) => [publicKey, candidate]))
  return [...(kernel.device?.peers.values() ?? [])]
    .filter(({ publicKey }) => !known.has(publicKey))
    .map(peer => ({
      node: '?',
      family: kernel.family,
      state: 'unknown',
      since: null,
      endpoint: peer.endpoint ? formatEndpoint(peer.endpoint) : null,
      publicKey: peer.publicKey,
      latestHandshake: handshakeTime(peer.latestHandshake),
      rxBytes: Number(peer.rxBytes),
      txBytes: Number(peer.txBytes),
      echo: null,
      pathMtu: null,
      why: 'the kernel has this peer, and the agent does not know it',
      disagreements: ['the agent does not know this peer'],
    }))
}
