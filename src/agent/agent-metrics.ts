import { hostname } from 'node:os'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { Phase } from '#src/mesh/peer-machine.ts'
import { VERSION } from '#src/version.ts'
import { FAMILIES, formatEndpoint } from '#wg/ip.ts'
import type { ClusterFeed } from './cluster-feed.ts'
import type { Dataplane } from './dataplane.ts'
import { Counter, collected, exposition, Histogram, type Labels, type Metric, type Sample } from './metrics/registry.ts'

const PHASES: readonly Phase[] = ['absent', 'accepting', 'encrypting', 'lingering']

/** Seconds: a pass that changes nothing takes fractions of a millisecond, the first one of a large mesh seconds. */
const PASS_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** All metrics of the agent. Felix's four WireGuard metrics keep their names and labels. */
export class AgentMetrics {
  readonly reconcileSeconds = new Histogram(
    'podveil_reconcile_seconds',
    'Duration of one pass: observe, plan, reconcile.',
    PASS_BOUNDS,
  )
  readonly reconcileFailures = new Counter('podveil_reconcile_failures_total', 'Passes that ended in an error.')
  readonly #metrics: readonly Metric[]

  constructor(self: NodeName, feed: ClusterFeed, dataplane: () => Dataplane | undefined) {
    this.#metrics = [
      collected('gauge', 'podveil_build_info', 'Constant 1; the version is a label.', () => [
        { labels: { version: VERSION, node: self }, value: 1 },
      ]),
      collected('gauge', 'podveil_peers', 'Other nodes by the state of their pair with this node.', () =>
        peerCounts(dataplane()),
      ),
      this.reconcileSeconds,
      this.reconcileFailures,
      ...felixMetrics(feed, dataplane),
      ...reflectorMetrics(feed),
    ]
  }

  text(): string {
    return exposition(this.#metrics)
  }
}

function* peerCounts(dataplane: Dataplane | undefined): Generator<Sample> {
  for (const family of FAMILIES) {
    const states = [...(dataplane?.meshes[family].plan?.peers.values() ?? [])]
    for (const phase of PHASES)
      yield {
        labels: { family: String(family), state: phase },
        value: states.filter(state => state.phase === phase).length,
      }
  }
}

function felixMetrics(feed: ClusterFeed, dataplane: () => Dataplane | undefined): Metric[] {
  const host = hostname()
  const devices = () =>
    feed.settings.wireguardMetricsEnabled
      ? FAMILIES.map(family => dataplane()?.meshes[family].kernel.device).filter(device => device !== undefined)
      : []
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
  const each = (value: (state: ClusterFeed['reflectors']['nodes']) => number) => () =>
    Object.entries(feed.reflectors).map(([resource, state]) => ({ labels: { resource }, value: value(state) }))
  return [
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
      'counter',
      'podveil_api_received_bytes_total',
      'Bytes read from the API server.',
      each(s => s.bytes),
    ),
  ]
}
