import type { EchoFigures } from '#src/hello/echo-meter.ts'
import { familyConfig } from '#src/mesh/family-config.ts'
import type { GuardDecision } from '#src/mesh/guard.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerSource } from '#src/mesh/peer-source.ts'
import type { RouteSource } from '#src/mesh/route-source.ts'
import type { FelixSettings } from '#src/mesh/settings.ts'
import { desiredSnapshot } from '#src/status/desired-snapshot.ts'
import type { Told } from '#src/status/json-steps.ts'
import {
  type DeviceSnapshot,
  type FamilySnapshot,
  handshakeTime,
  type NodeSnapshot,
  type PeerSnapshot,
} from '#src/status/snapshot.ts'
import { VERSION } from '#src/version.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { type Cidr, FAMILIES, type Family, familyOf, formatEndpoint } from '#wg/ip.ts'
import type { Dataplane } from './dataplane.ts'
import type { PairWatch, WatchedPeer } from './report-watch.ts'

export interface SnapshotInput {
  readonly self: NodeName
  readonly nodes: ReadonlyMap<NodeName, NodeRecord>
  readonly settings: FelixSettings
  /** The one that counts, whoever chose it. */
  readonly routeSource: RouteSource
  /** As it is, whatever is asked for. */
  readonly peerSource: PeerSource
  readonly enabled: Readonly<Record<Family, boolean>>
  readonly guard: GuardDecision
  readonly refusedSettings: Iterable<string>
  readonly troubles: readonly string[]
  readonly dataplane: Dataplane | undefined
  readonly watches: Readonly<Record<Family, Pick<PairWatch, 'pairs'>>>
}

/**
 * All that the agent knows and that somebody on the node may ask for, as it is at this moment; no private key is in it. What
 * there is much of is put into words only when it is told, with the counters that peers have then.
 */
export function takeSnapshot(input: SnapshotInput): Told<NodeSnapshot> {
  const { self, nodes, settings, routeSource, guard, refusedSettings, troubles, dataplane } = input
  const own = nodes.get(self)
  return {
    format: 1,
    podveil: VERSION,
    node: self,
    time: new Date().toISOString(),
    addresses: own?.addresses ?? [],
    podCidrs: own?.podCidrs ?? [],
    dataplane: dataplane?.kind ?? null,
    settings: {
      wireguardEnabled: settings.wireguard[4].enabled,
      wireguardEnabledV6: settings.wireguard[6].enabled,
      wireguardRoutingRulePriority: settings.routingRulePriority,
      routeSource,
      peerSource: input.peerSource,
    },
    guard: { mode: guard.mode, refusals: guard.refusals },
    troubles,
    refusedSettings: [...refusedSettings],
    families: FAMILIES.flatMap(family => familySnapshot(family, input) ?? []),
    repairs: {
      total: dataplane?.repairs.total ?? 0,
      recent: (dataplane?.repairs.recent ?? []).map(({ at, family, what }) => ({
        time: new Date(at).toISOString(),
        family: family ?? null,
        what,
      })),
    },
  }
}

function familySnapshot(family: Family, input: SnapshotInput): Told<FamilySnapshot> | undefined {
  const { nodes, settings, enabled, dataplane, watches } = input
  const mesh = dataplane?.meshes[family]
  const plan = mesh?.plan
  const config = configOf(family, input)
  if (!config) return undefined
  const steered = mesh?.steered ?? new Set<Cidr>()
  const [records, pathMtus] = [new Map(nodes), mesh?.smallerPaths]
  return {
    family,
    enabled: enabled[family],
    interfaceName: config.interfaceName,
    device: deviceSnapshot(family, dataplane, config.mtu),
    rulePriority: settings.routingRulePriority,
    mark: config.mark,
    tables: config.tables,
    peers: [...watches[family].pairs].values().map(([name, watched]) => {
      const [peer, echo] = [mesh?.peer(name, watched.state), mesh?.echoFigures(name)]
      return peerSnapshot(family, name, records.get(name), watched, peer, steered, echo, pathMtus?.get(name))
    }),
    refused: [...(plan?.refused ?? [])].flatMap(([node, claims]) => claims.map(claim => ({ node, claim }))),
    desired: desiredSnapshot(plan?.desired),
  }
}

/** Marks and tables that cannot be had are among the troubles already. */
function configOf(family: Family, { settings, dataplane }: SnapshotInput) {
  try {
    return familyConfig(family, settings, dataplane?.links ?? [])
  } catch {
    return undefined
  }
}

function deviceSnapshot(family: Family, dataplane: Dataplane | undefined, mtu: number): DeviceSnapshot | null {
  const mesh = dataplane?.meshes[family]
  const [device] = mesh?.devices ?? []
  if (device?.publicKey === undefined) return null
  const [address = null] = mesh?.plan?.desired.devices[0]?.addresses ?? []
  return { name: device.name, publicKey: device.publicKey, port: device.listenPort, address, mtu }
}

function peerSnapshot(
  family: Family,
  node: NodeName,
  record: NodeRecord | undefined,
  { state, since, silentSince }: WatchedPeer,
  peer: PeerStatus | undefined,
  steered: ReadonlySet<Cidr>,
  echo: EchoFigures | undefined,
  pathMtu: number | undefined,
): PeerSnapshot {
  const publicKey = state.phase === 'absent' ? null : state.key
  const allowedIps = [...(peer?.allowedIps ?? [])]
  return {
    node,
    phase: state.phase,
    since: wallClock(since),
    reason: state.reason,
    publicKey,
    candidate: ('candidate' in state && state.candidate) || null,
    addresses: record?.addresses.filter(address => familyOf(address) === family) ?? [],
    podCidrs: record?.podCidrs.filter(cidr => familyOf(cidr) === family) ?? [],
    endpoint: peer?.endpoint ? formatEndpoint(peer.endpoint) : null,
    latestHandshake: handshakeTime(peer?.latestHandshake ?? 0n),
    rxBytes: Number(peer?.rxBytes ?? 0n),
    txBytes: Number(peer?.txBytes ?? 0n),
    allowedIps,
    steered: allowedIps.filter(cidr => steered.has(cidr)),
    silentSince: silentSince === undefined ? null : wallClock(silentSince),
    echo: echo ? { roundTripSeconds: echo.roundTrip, loss: echo.loss } : null,
    pathMtu: pathMtu ?? null,
  }
}

/** The same text whenever it is asked, so that time alone changes nothing. @param at milliseconds of performance.now() */
const wallClock = (at: number): string => new Date(TIME_ORIGIN + at).toISOString()

/** Looking it up takes as long as a date. */
const TIME_ORIGIN = performance.timeOrigin
