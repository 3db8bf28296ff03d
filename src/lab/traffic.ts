import { randomInt } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Family, familyOf } from '#wg/ip.ts'
import { LabError } from './errors.ts'
import { JsonLinesClient } from './json-lines.ts'
import { inNamespace } from './namespaces.ts'
import { nodeProgram } from './node-program.ts'
import type { LabPlan, NodePlan } from './plan.ts'
import {
  type FlowTarget,
  type Pause,
  type ProbeReport,
  type ProbeRequest,
  type ProbeSnapshot,
  parseFlowKey,
} from './probe/protocol.ts'
import { liveProcess, startDetached } from './processes.ts'
import { type QueueDrop, QueueDrops } from './queue-drops.ts'
import type { LabFiles } from './state.ts'
import { waitUntil } from './wait.ts'

export interface TrafficOptions {
  /** Datagrams a second from each pod to each other pod, in each family. Default: what `defaultRate` says. */
  readonly rate?: number | undefined
  /** Bytes of UDP payload. Default 64. */
  readonly size?: number
  /** Also hold a TCP connection for each pair, with numbered words echoed over it. */
  readonly streams?: boolean
}

/** Totals while traffic runs. */
export interface TrafficSnapshot {
  readonly elapsedMs: number
  readonly sent: number
  readonly received: number
  /** Sent at least half a second ago and not there: what is merely on its way does not count. */
  readonly missing: number
  readonly duplicates: number
  /** Connections that broke since the start. */
  readonly resets: number
}

/** Numbers that were lost in a row. */
export interface LostRun {
  readonly first: number
  readonly count: number
  /** Milliseconds after the start of the traffic at which the first of them was due. */
  readonly atMs: number
}

/** One direction between two pods in one family, exactly. */
export interface PairReport {
  readonly source: string
  readonly destination: string
  readonly family: Family
  readonly sent: number
  readonly received: number
  readonly lost: number
  readonly duplicates: number
  readonly reordered: number
  /** Of those lost, datagrams that the sender's own kernel refused. */
  readonly refused: number
  readonly longestSilenceMs: number
  readonly longestDelayMs: number
  /** The first hundred. */
  readonly gaps: readonly LostRun[]
  readonly stream:
    | {
        readonly echoed: number
        readonly longestStallMs: number
        readonly resets: readonly string[]
        readonly garbled: number
      }
    | undefined
}

export interface TrafficReport {
  /** Unix time in milliseconds. */
  readonly startedAt: number
  readonly elapsedMs: number
  readonly pairs: readonly PairReport[]
  readonly sent: number
  readonly received: number
  readonly lost: number
  readonly duplicates: number
  readonly reordered: number
  /** Broken or garbled TCP connections. */
  readonly streamFaults: number
  /** Datagrams that reached a pod and found no room in its socket: when not 0, the meter was too slow, and `lost` is too high by as much. */
  readonly overflowed: number
  /** The longest that a probe did not run and so sent nothing, in all: when it is much, this machine is too slow for the rate. */
  readonly pausedMs: number
  /** Where this machine's queues were full meanwhile: a hint where a loss comes from. */
  readonly queueDrops: readonly QueueDrop[]
}

const PROBE = fileURLToPath(new URL('./probe/main.ts', import.meta.url))

/** A datagram that takes longer is called missing while traffic runs; the final report does not depend on it. */
const IN_FLIGHT_MS = 500

interface Probe {
  readonly node: NodePlan
  readonly client: JsonLinesClient
}

interface SentAt {
  readonly at: number
  readonly sent: Readonly<Record<string, number>>
}

/** Traffic between all pods of a lab, counted exactly. */
export class Traffic {
  readonly #plan: LabPlan
  readonly #files: LabFiles
  #probes: Probe[] = []
  #history: SentAt[] = []
  #queues: QueueDrops
  #settled: Readonly<Record<string, number>> = {}
  #startedAt = 0
  #rate = 0
  #running = false

  constructor(plan: LabPlan, files: LabFiles) {
    this.#plan = plan
    this.#files = files
    this.#queues = new QueueDrops(plan)
  }

  /** Datagrams a second for each flow of the last traffic. */
  get rate(): number {
    return this.#rate
  }

  get running(): boolean {
    return this.#running
  }

  /** Starts the probes where they do not run, and all flows. @throws LabError when traffic runs already */
  async start(options: TrafficOptions = {}): Promise<void> {
    if (this.#running) throw new LabError('ERR_LAB_TRAFFIC', 'traffic runs already; stop it first')
    await this.prepare()
    this.#history = []
    this.#settled = {}
    this.#rate = options.rate ?? defaultRate(this.#plan)
    this.#queues = new QueueDrops(this.#plan)
    await this.#queues.sample()
    const run = randomInt(2 ** 32)
    await this.#ask(({ node }) => ({ op: 'listen', run, pod: node.index, addresses: node.podAddresses }))
    this.#startedAt = Date.now()
    this.#running = true
    await this.#ask(({ node }) => ({
      op: 'send',
      targets: this.#targetsOf(node),
      rate: this.#rate,
      size: options.size ?? 64,
      streams: options.streams ?? false,
    }))
  }

  async snapshot(): Promise<TrafficSnapshot> {
    const now = performance.now()
    const settled = this.#history.findLast(entry => now - entry.at >= IN_FLIGHT_MS)?.sent ?? this.#settled
    this.#settled = settled
    const snapshots = await this.#ask<ProbeSnapshot>(({ node }) => ({ op: 'snapshot', below: endingAt(settled, node) }))
    this.#history.push({ at: now, sent: sentCounts(snapshots) })
    if (this.#history.length > 100) this.#history.shift()
    const received = snapshots.flatMap(snapshot => snapshot.received)
    return {
      elapsedMs: Date.now() - this.#startedAt,
      sent: sum(snapshots.flatMap(snapshot => snapshot.sent.map(flow => flow.sent))),
      received: sum(received.map(flow => flow.received)),
      missing: sum(received.map(flow => flow.missing)),
      duplicates: sum(received.map(flow => flow.duplicates)),
      resets: sum(snapshots.flatMap(snapshot => snapshot.streams.map(stream => stream.resets.length))),
    }
  }

  /**
   * Ends all flows, waits for what is on its way, and gives the account. The probes stay for the next run.
   * @param drainMs how long to wait for the last datagrams
   */
  async stop(drainMs = 2_000): Promise<TrafficReport> {
    if (!this.#running) throw new LabError('ERR_LAB_TRAFFIC', 'no traffic runs; start it first')
    await this.#ask(() => ({ op: 'stop-sending' }))
    this.#running = false
    const elapsedMs = Date.now() - this.#startedAt
    const reports = await this.#drain(drainMs)
    await this.#ask(() => ({ op: 'close' }))
    await this.#queues.sample()
    return this.#account(reports, elapsedMs)
  }

  /** Takes note of what queues have dropped, before interfaces are removed with their counters. */
  noteQueues(): Promise<void> {
    return this.#queues.sample()
  }

  /** Starts the probes ahead of the first traffic. */
  async prepare(): Promise<void> {
    const alive = this.#probes.filter(({ node }) => liveProcess(this.#files.process(probeRole(node))))
    const missing = this.#plan.nodes.filter(node => !alive.some(probe => probe.node.index === node.index))
    this.#probes = [...alive, ...(await Promise.all(missing.map(node => this.#startProbe(node))))]
  }

  /** Lets go of the probes; they end with the lab. */
  close(): void {
    for (const { client } of this.#probes) client[Symbol.dispose]()
    this.#probes = []
    this.#running = false
  }

  async #startProbe(node: NodePlan): Promise<Probe> {
    const role = probeRole(node)
    const socket = this.#files.probeSocket(node.podName)
    const recordFile = this.#files.process(role)
    if (!liveProcess(recordFile))
      await startDetached(inNamespace(node.podNamespace, [nodeProgram(), PROBE, socket]), {
        recordFile,
        logFile: this.#files.log(role),
      })
    const client = await waitUntil(
      async () => (liveProcess(recordFile) ? JsonLinesClient.connect(socket, `probe of ${node.podName}`) : 'ended'),
      60_000,
      `the probe of ${node.podName}`,
    )
    if (client === 'ended')
      throw new LabError('ERR_LAB_PROCESS', `the probe of ${node.podName} has ended (${this.#files.log(role)})`)
    return { node, client }
  }

  #targetsOf(node: NodePlan): FlowTarget[] {
    return this.#plan.nodes
      .filter(other => other.index !== node.index)
      .flatMap(other => other.podAddresses.map(address => ({ pod: other.index, family: familyOf(address), address })))
  }

  #ask<T>(request: (probe: Probe) => ProbeRequest): Promise<T[]> {
    return Promise.all(this.#probes.map(probe => probe.client.ask<T>(request(probe))))
  }

  async #drain(limitMs: number): Promise<ProbeReport[]> {
    const sent = sentCounts(await this.#ask<ProbeSnapshot>(() => ({ op: 'snapshot', below: {} })))
    const deadline = performance.now() + limitMs
    for (;;) {
      const reports = await this.#ask<ProbeReport>(({ node }) => ({ op: 'report', sent: endingAt(sent, node) }))
      const missing = sum(reports.flatMap(report => report.received.map(flow => flow.missing)))
      if (missing === 0 || performance.now() >= deadline) return reports
      await delay(50)
    }
  }

  #account(reports: readonly ProbeReport[], elapsedMs: number): TrafficReport {
    const firstStart = Math.min(...reports.map(report => report.startedAt))
    const received = new Map(reports.flatMap(report => report.received.map(flow => [flow.key, flow] as const)))
    const streams = new Map(reports.flatMap(report => report.streams.map(stream => [stream.key, stream] as const)))
    const pairs = reports.flatMap(sender =>
      sender.sent.map(({ key, sent, refused }): PairReport => {
        const { source, destination, family } = parseFlowKey(key)
        const flow = received.get(key)
        const stream = streams.get(key)
        const gaps = reports.flatMap(report => report.gaps[key] ?? [])
        return {
          source: `pod-${source}`,
          destination: `pod-${destination}`,
          family,
          sent,
          received: flow?.received ?? 0,
          lost: sent - (flow?.received ?? 0),
          duplicates: flow?.duplicates ?? 0,
          reordered: flow?.reordered ?? 0,
          refused,
          longestSilenceMs: round(flow?.longestSilenceMs ?? 0),
          longestDelayMs: round(flow?.longestDelayMs ?? 0),
          gaps: gaps.map(gap => ({
            ...gap,
            atMs: round(sender.startedAt - firstStart + dueMs(gap.first, this.#rate, sender.pauses)),
          })),
          stream: stream && { ...stream, longestStallMs: round(stream.longestStallMs) },
        }
      }),
    )
    return {
      startedAt: this.#startedAt,
      elapsedMs,
      pairs,
      sent: sum(pairs.map(pair => pair.sent)),
      received: sum(pairs.map(pair => pair.received)),
      lost: sum(pairs.map(pair => pair.lost)),
      duplicates: sum(pairs.map(pair => pair.duplicates)),
      reordered: sum(pairs.map(pair => pair.reordered)),
      streamFaults: sum(pairs.map(pair => (pair.stream?.resets.length ?? 0) + (pair.stream?.garbled ?? 0))),
      overflowed: sum(reports.map(report => report.overflowed)),
      pausedMs: round(Math.max(...reports.map(report => sum(report.pauses.map(pause => pause.lengthMs))))),
      queueDrops: this.#queues.total(),
    }
  }
}

/**
 * What two cores carry through wireguard-go without queues running over: measured, 6,500 small datagrams a second in all
 * keep 1.2 cores of it busy.
 */
const SUSTAINABLE_TOTAL = 4_500
/** Shows an outage of five milliseconds. */
const ENOUGH = 200

/** Datagrams a second for each flow that a small machine can carry through userspace tunnels, so that what is lost is not its fault. */
export function defaultRate(plan: LabPlan): number {
  const flows = plan.nodes.length * (plan.nodes.length - 1) * plan.families.length
  return Math.max(1, Math.min(ENOUGH, Math.floor(SUSTAINABLE_TOTAL / Math.max(1, flows))))
}

/** When a number was due, in milliseconds after the sender's first. */
const dueMs = (sequence: number, rate: number, pauses: readonly Pause[]): number =>
  (sequence * 1000) / rate + sum(pauses.filter(pause => pause.sequence <= sequence).map(pause => pause.lengthMs))

const probeRole = (node: NodePlan): string => `probe-${node.podName}`

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

const round = (milliseconds: number): number => Math.round(milliseconds * 10) / 10

const sentCounts = (snapshots: readonly ProbeSnapshot[]): Record<string, number> =>
  Object.fromEntries(snapshots.flatMap(snapshot => snapshot.sent.map(flow => [flow.key, flow.sent])))

/** The flows that end at this node's pod. */
const endingAt = (counts: Readonly<Record<string, number>>, node: NodePlan): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).filter(([key]) => parseFlowKey(key).destination === node.index))
