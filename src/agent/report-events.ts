import { fingerprint, type PublicKey } from '#keys/public-key.ts'
import type { NodeEvent } from '#src/cluster/node-events.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { RouteSource } from '#src/mesh/route-source.ts'
import { PATIENCE } from '#src/status/tally.ts'
import type { Family } from '#wg/ip.ts'
import type { KeyRotation } from './renewal.ts'
import type { RepairNote } from './report-repairs.ts'
import type { WatchChange, WatchedPeer } from './report-watch.ts'

/** What a node may want to be heard of, apart from its peers. */
export interface Circumstances {
  /** Whether encryption is on; undefined before the configuration was read for the first time. */
  readonly enabled: Readonly<Record<Family, boolean>> | undefined
  /** Claims of other nodes that were refused, and values of theirs that cannot be used, a sentence each. */
  readonly refusedClaims: ReadonlySet<string>
  /** Values of FelixConfiguration that were refused, a sentence each. */
  readonly refusedSettings: ReadonlySet<string>
  readonly quarrel: RepairNote | undefined
  /** Where pod addresses come from; undefined before any of the sources was read. */
  readonly routeSource: RouteSource | undefined
  /** Public keys that our own Node carries; undefined before it was read. */
  readonly publishedKeys: Readonly<Record<Family, PublicKey | undefined>> | undefined
  /** Why the guard does less than it was told to, a sentence each. */
  readonly guardRefusals: ReadonlySet<string>
  /** Undefined while the family has no key, or was not looked at. */
  readonly rotations: Readonly<Record<Family, KeyRotation | undefined>>
}

/** More of one kind at once are told in one Event: a node that is cut off loses all of its peers. */
const MOST_EACH = 3

/** What became of the pairs of one family between two looks. */
export function peerEvents(family: Family, changes: readonly WatchChange[]): NodeEvent[] {
  const found = { unproven: [] as Told[], proven: [] as Told[], silent: [] as Told[], heard: [] as Told[] }
  for (const { node, before, after } of changes) {
    if (!before) continue
    if (after.unproven && !before.unproven) found.unproven.push([node, after])
    if (before.unproven && after.state.phase === 'encrypting') found.proven.push([node, after])
    if (after.silentSince !== undefined && before.silentSince === undefined) found.silent.push([node, after])
    if (before.silentSince !== undefined && after.silentSince === undefined && after.state.phase === 'encrypting')
      found.heard.push([node, after])
  }
  const patience = PATIENCE / 1000
  return [
    ...told(
      found.unproven,
      'Warning',
      'PeerUnproven',
      (who, reason) =>
        `${who} (IPv${family}) has not proven within ${patience} s that it accepts encrypted traffic: ${reason}`,
    ),
    ...told(found.proven, 'Normal', 'PeerRecovered', who => `traffic to ${who} (IPv${family}) is encrypted now`),
    ...told(
      found.silent,
      'Warning',
      'PeerSilent',
      who =>
        `${who} (IPv${family}) answers nothing that is sent through the tunnel: is UDP to its WireGuard port blocked? Traffic to it stays encrypted`,
    ),
    ...told(found.heard, 'Normal', 'PeerRecovered', who => `${who} (IPv${family}) answers through the tunnel again`),
  ]
}

type Told = readonly [NodeName, WatchedPeer]

function told(
  peers: readonly Told[],
  type: NodeEvent['type'],
  reason: string,
  words: (who: string, why: string) => string,
): NodeEvent[] {
  const [first] = peers
  if (!first) return []
  if (peers.length <= MOST_EACH)
    return peers.map(([name, { state }]) => ({ type, reason, message: words(name, state.reason) }))
  const who = `${peers.length} nodes, ${first[0]} among them,`
  return [{ type, reason, message: words(who, first[1].state.reason) }]
}

/** What became of everything else. */
export function circumstanceEvents(before: Circumstances, after: Circumstances): NodeEvent[] {
  const events: NodeEvent[] = []
  if (before.enabled && after.enabled)
    for (const family of [4, 6] as const)
      if (before.enabled[family] !== after.enabled[family]) events.push(switched(family, after.enabled[family]))
  if (before.publishedKeys && after.publishedKeys)
    for (const family of [4, 6] as const)
      events.push(...published(family, before.publishedKeys[family], after.publishedKeys[family]))
  for (const family of [4, 6] as const)
    events.push(...rotated(family, before.rotations[family], after.rotations[family]))
  for (const refusal of after.guardRefusals)
    if (!before.guardRefusals.has(refusal))
      events.push({ type: 'Warning', reason: 'GuardNotEnforced', message: refusal })
  for (const claim of after.refusedClaims)
    if (!before.refusedClaims.has(claim))
      events.push({ type: 'Warning', reason: /\bkey\b/i.test(claim) ? 'KeyRefused' : 'ClaimRefused', message: claim })
  for (const setting of after.refusedSettings)
    if (!before.refusedSettings.has(setting))
      events.push({ type: 'Warning', reason: 'ConfigurationRefused', message: setting })
  const { routeSource } = before
  if (routeSource && after.routeSource && routeSource !== after.routeSource)
    events.push({
      type: 'Warning',
      reason: 'RouteSourceChanged',
      message: `pod addresses come from ${after.routeSource} now, and no more from ${routeSource}: set routeSource where that should not depend on what the cluster has`,
    })
  if (after.quarrel && !before.quarrel)
    events.push({
      type: 'Warning',
      reason: 'ForeignChanges',
      message: `something else is changing Podveil's device, routes, rules or nftables table on this node: five repairs within a minute, the last after it ${after.quarrel.what}${after.quarrel.family ? ` (IPv${after.quarrel.family})` : ''}; end what does it`,
    })
  return events
}

function published(family: Family, before: PublicKey | undefined, after: PublicKey | undefined): NodeEvent[] {
  if (after === undefined || after === before) return []
  const instead = before === undefined ? '' : ` in place of ${fingerprint(before)}`
  const message = `this Node carries the IPv${family} key ${fingerprint(after)}${instead} now: others may encrypt to it`
  return [{ type: 'Normal', reason: 'KeyPublished', message }]
}

/** What was under way when the agent started was told by the one before. */
function rotated(family: Family, before: KeyRotation | undefined, after: KeyRotation | undefined): NodeEvent[] {
  if (!before || !after) return []
  const events: NodeEvent[] = []
  const tell = (reason: string, message: string) => events.push({ type: 'Normal', reason, message })
  const [old, key] = [fingerprint(before.key), fingerprint(after.key)]
  if (before.replacing && before.key !== after.key)
    tell(
      'KeyRotated',
      `the IPv${family} device has the private key of ${key} in place of that of ${old}, which is forgotten: traffic returns to it`,
    )
  if (after.replacing && !(before.replacing && before.key === after.key))
    tell(
      'KeyRotationStarted',
      `the private key of the IPv${family} key ${key} is being replaced: peers move their traffic to the spare device first`,
    )
  return events
}

const switched = (family: Family, on: boolean): NodeEvent => ({
  type: 'Normal',
  reason: on ? 'EncryptionEnabled' : 'EncryptionDisabled',
  message: on
    ? `encryption of IPv${family} pod traffic is on: each pair turns when it has proven itself`
    : `encryption of IPv${family} pod traffic is off: each pair returns to clear text when both sides have stopped`,
})
