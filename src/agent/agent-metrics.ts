import { stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { ReflectorState } from '#src/cluster/reflector-state.ts'
import type { EchoFigures } from '#src/hello/echo-meter.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { Phase } from '#src/mesh/peer-machine.ts'
import { PEER_SOURCES } from '#src/mesh/peer-source.ts'
import { VERSION } from '#src/version.ts'
import { FAMILIES, formatEndpoint } from '#wg/ip.ts'
import { NetlinkError } from '#wg/netlink/errors.ts'
import { readCounters } from '#wg/nftables/nft.ts'
import { GUARD_COUNTERS, TABLE } from '#wg/nftables/ruleset.ts'
import type { ClusterFeed } from './cluster-feed.ts'
import type { Dataplane } from './dataplane.ts'
import { keyRecordPath } from './key-record.ts'
import { Counter, collected, exposition, Histogram, type Labels, type Metric, type Sample } from './metrics/registry.ts'
import type { Report } from './report.ts'

const PHASES: readonly Phase[] = ['absent', 'accepting', 'encrypting', 'lingering']

/** Seconds: a pass that changes nothing takes fractions of a millisecond, the first one of a large mesh seconds. */
const PASS_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Peers that are named one by one: in a mesh that is not encrypted at all, so many series of each agent are enough. */
const MOST_NAMED = 50

export interface MetricSources {
  readonly self: NodeName
  readonly feed: ClusterFeed
  readonly dataplane: () => Dataplane | undefined
  readonly report: Pick<Report, 'tally' | 'droppedEvents' | 'refusedClaims'>
  readonly stateDir: string
}

/** All metrics of the agent. Felix's four WireGuard metrics keep their names and labels. */
export class AgentMetrics {
  readonly reconcileSeconds = new Histogram(
    'podveil_reconcile_seconds',
    'Duration of one pass: observe, plan, reconcile.',
    PASS_BOUNDS,
  )
  readonly deviceChanges = new Counter(
    'podveil_device_changes_total',
    'Times that a main device got another key, port or name.',
  )
  readonly reconcileFailures = new Counter('podveil_reconcile_failures_total', 'Passes that ended in an error.')
  readonly #netlinkErrors = new Counter('podveil_netlink_errors_total', 'Requests that the kernel refused.')
  readonly #stateDir: string
  readonly #metrics: readonly Metric[]
  #clear: ReadonlyMap<string, number> = new Map()
  #keysWritten: number | undefined

  constructor({ self, feed, dataplane, report, stateDir }: MetricSources) {
    this.#stateDir = stateDir
    this.#metrics = [
      collected('gauge', 'podveil_build_info', 'Constant 1; the version is a label.', () => [
        { labels: { version: VERSION, node: self }, value: 1 },
      ]),
      collected('gauge', 'podveil_encryption_enabled', 'Whether the configuration wants it on this node.', () =>
        FAMILIES.map(family => ({
          labels: { family: String(family) },
          value: Number(feed.settings.wireguard[family].enabled),
        })),
      ),
      collected('gauge', 'podveil_peers', 'Other nodes by the state of their pair with this node.', () =>
        peerCounts(dataplane()),
      ),
      ...tallyMetrics(report),
      ...echoMetrics(dataplane),
      collected(
        'counter',
        'podveil_clear_packets_total',
        'Pod packets in clear, and strange WireGuard ones, that the guard counted or dropped.',
        () =>
          GUARD_COUNTERS.flatMap(reason => {
            const value = this.#clear.get(reason)
            return value === undefined ? [] : [{ labels: { reason }, value }]
          }),
      ),
      this.reconcileSeconds,
      this.reconcileFailures,
      this.deviceChanges,
      this.#netlinkErrors,
      collected(
        'counter',
        'podveil_repairs_total',
        'Foreign changes to what is ours in the kernel that were put back.',
        () => [{ labels: {}, value: dataplane()?.repairs.total ?? 0 }],
      ),
      collected(
        'gauge',
        'podveil_keys_written_timestamp_seconds',
        'Unix time at which the private keys were last written, to the disk or for the kernel alone.',
        () => (this.#keysWritten === undefined ? [] : [{ labels: {}, value: this.#keysWritten }]),
      ),
      collected(
        'counter',
        'podveil_events_dropped_total',
        'Kubernetes Events that were not written, because too many came.',
        () => [{ labels: {}, value: report.droppedEvents }],
      ),
      ...felixMetrics(feed, dataplane),
      ...reflectorMetrics(feed),
    ]
  }

  /** By the kernel's name for it, where it was the kernel that refused. */
  countNetlinkError(error: unknown): void {
    if (error instanceof NetlinkError) this.#netlinkErrors.add({ error: error.errnoName })
  }

  /** As it is while it is taken, in pieces; what is not in the agent's memory is read for each scrape. */
  async exposition(): Promise<Iterable<string>> {
    // A node without nft, or without the guard, has no such counters.
    this.#clear = await readCounters(TABLE).catch(() => new Map())
    const kept = stat(join(this.#stateDir, 'keys.json')).catch(() => stat(keyRecordPath(this.#stateDir)))
    this.#keysWritten = await kept.then(
      ({ mtimeMs }) => Math.round(mtimeMs / 1000),
      () => undefined,
    )
    return { [Symbol.iterator]: () => exposition(this.#metrics) }
  }
}

function tallyMetrics(report: MetricSources['report']): Metric[] {
  const state = { clear: 'in-clear', silent: 'not-answering', joining: 'joining', encrypted: 'encrypted' } as const
  const others = () => report.tally?.others ?? []
  return [
    collected('gauge', 'podveil_nodes', 'Other nodes that pods of this node may talk to, over all families.', () => [
      { labels: {}, value: report.tally?.peers ?? 0 },
    ]),
    collected('gauge', 'podveil_nodes_encrypted', 'Of these, the ones that all traffic to is encrypted.', () => [
      { labels: {}, value: report.tally?.encrypted ?? 0 },
    ]),
    collected(
      'gauge',
      'podveil_nodes_not_answering',
      'Of these, the ones that answer nothing through the tunnel.',
      () => [{ labels: {}, value: others().filter(pair => pair.state === 'silent').length }],
    ),
    collected(
      'gauge',
      'podveil_peer_trouble',
      'Constant 1 for each peer that is not simply encrypted, by name and state.',
      () =>
        others()
          .slice(0, MOST_NAMED)
          .map(pair => ({ labels: { peer: pair.node, state: state[pair.state] }, value: 1 })),
    ),
    collected(
      'gauge',
      'podveil_claims_refused',
      'Constant 1 for each key, prefix or address of another Node that is refused now, with whose it is.',
      () => [...report.refusedClaims].slice(0, MOST_NAMED).map(claim => ({ labels: { claim }, value: 1 })),
    ),
  ]
}

function* peerCounts(dataplane: Dataplane | undefined): Generator<Sample> {
  for (const family of FAMILIES) {
    const counts = new Map<Phase, number>()
    for (const { phase } of dataplane?.meshes[family].plan?.peers.values() ?? [])
      counts.set(phase, (counts.get(phase) ?? 0) + 1)
    for (const phase of PHASES)
      yield { labels: { family: String(family), state: phase }, value: counts.get(phase) ?? 0 }
  }
}

/** Nothing at all for a pair of which nothing is known: zero would be a promise. */
function echoMetrics(dataplane: () => Dataplane | undefined): Metric[] {
  const perPair = (value: (figures: EchoFigures) => number | null) =>
    function* (): Generator<Sample> {
      for (const family of FAMILIES) {
        const mesh = dataplane()?.meshes[family]
        for (const peer of mesh?.plan?.peers.keys() ?? []) {
          const figures = mesh?.echoFigures(peer)
          const known = figures ? value(figures) : null
          if (known !== null) yield { labels: { peer, family: String(family) }, value: known }
        }
      }
    }
  return [
    collected(
      'gauge',
      'podveil_echo_round_trip_seconds',
      'Median round trip of the echoes that the agents exchange through the tunnel, of five minutes.',
      perPair(({ roundTrip }) => roundTrip),
    ),
    collected(
      'gauge',
      'podveil_echo_loss_ratio',
      'Part of these echoes that had no answer, 0 to 1.',
      perPair(({ loss }) => loss),
    ),
    collected('gauge', 'podveil_tunnel_mtu_bytes', 'MTU of the devices of this family.', () =>
      FAMILIES.flatMap(family => {
        const mtu = dataplane()?.meshes[family].plan?.desired.devices.at(0)?.mtu
        return mtu === undefined ? [] : [{ labels: { family: String(family) }, value: mtu }]
      }),
    ),
    collected(
      'gauge',
      'podveil_path_mtu_bytes',
      'Largest packet inside the tunnel that is known to arrive at a peer: the tunnel’s MTU, or less where the path drops that.',
      function* () {
        for (const family of FAMILIES) {
          const mesh = dataplane()?.meshes[family]
          for (const peer of mesh?.plan?.peers.keys() ?? []) {
            const value = mesh?.pathMtu(peer)
            if (value !== undefined) yield { labels: { peer, family: String(family) }, value }
          }
        }
      },
    ),
  ]
}

function felixMetrics(feed: ClusterFeed, dataplane: () => Dataplane | undefined): Metric[] {
  const host = hostname()
  const devices = () =>
    feed.settings.wireguardMetricsEnabled ? FAMILIES.flatMap(family => dataplane()?.meshes[family].devices ?? []) : []
  const perPeer = (value: (peer: { latestHandshake: bigint; rxBytes: bigint; txBytes: bigint }) => bigint) =>
    function* (): Generator<Sample> {
      for (const device of devices())
        for (const peer of device.peers.values()) {
          const labels: Labels = {
            hostname: host,
            public_key: device.publicKey ?? '',
            peer_key: peer.publicKey,
            peer_endpoint: peer.endpoint ? formatEndpoint(peer.endpoint) : '',
          }
          yield { labels, value: Number(value(peer)) }
        }
    }
  return [
    collected('gauge', 'wireguard_meta', 'Constant 1; the device is in the labels.', () =>
      devices().map(({ name, publicKey, listenPort }) => ({
        labels: { hostname: host, public_key: publicKey ?? '', iface: name, listen_port: String(listenPort) },
        value: 1,
      })),
    ),
    collected(
      'gauge',
      'wireguard_latest_handshake_seconds',
      'Unix time of the last handshake with a peer, 0 for never.',
      perPeer(({ latestHandshake }) => latestHandshake / 1_000_000_000n),
    ),
    collected(
      'counter',
      'wireguard_bytes_rcvd',
      'Bytes received from a peer.',
      perPeer(({ rxBytes }) => rxBytes),
    ),
    collected(
      'counter',
      'wireguard_bytes_sent',
      'Bytes sent to a peer.',
      perPeer(({ txBytes }) => txBytes),
    ),
  ]
}

function reflectorMetrics(feed: ClusterFeed): Metric[] {
  const each = (value: (state: ReflectorState) => number) => () =>
    Object.entries(feed.reflectors).map(([resource, state]) => ({ labels: { resource }, value: value(state) }))
  return [
    collected(
      'gauge',
      'podveil_peer_source',
      'Constant 1 for what the other nodes are read from, 0 for the other.',
      () => PEER_SOURCES.map(source => ({ labels: { source }, value: Number(feed.peers.source === source) })),
    ),
    collected(
      'gauge',
      'podveil_nodes_without_mesh_node',
      'Nodes whose MeshNodes are waited for before MeshNodes are read, or that have none while they are.',
      () => [{ labels: {}, value: feed.peers.withoutMeshNode }],
    ),
    collected(
      'counter',
      'podveil_api_lists_total',
      'Times that a whole collection was read.',
      each(s => s.lists),
    ),
    collected(
      'counter',
      'podveil_api_watches_total',
      'Watch requests.',
      each(s => s.watches),
    ),
    collected(
      'counter',
      'podveil_api_failures_total',
      'Lists and watches that failed.',
      each(s => s.restarts),
    ),
    collected(
      'gauge',
      'podveil_api_silence_seconds',
      'Seconds since the API server last said something of this resource: an event or a bookmark.',
      () =>
        Object.entries(feed.reflectors).flatMap(([resource, { lastEventAt }]) =>
          lastEventAt === undefined
            ? []
            : [{ labels: { resource }, value: Math.round(performance.now() - lastEventAt) / 1000 }],
        ),
    ),
    collected(
      'counter',
      'podveil_api_received_bytes_total',
      'Bytes read from the API server.',
      each(s => s.bytes),
    ),
  ]
}
