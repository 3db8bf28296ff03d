import type { ApiClient } from '#src/cluster/api-client.ts'
import { HeartbeatPublisher } from '#src/cluster/heartbeat.ts'
import { messageOf } from '#src/cluster/hostile.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { type ConditionContent, ConditionPublisher } from '#src/cluster/node-condition.ts'
import { NodeEvents } from '#src/cluster/node-events.ts'
import { StartupTaint } from '#src/cluster/startup-taint.ts'
import type { GuardDecision } from '#src/mesh/guard.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerState } from '#src/mesh/peer-machine.ts'
import { hasFamily } from '#src/mesh/record-facts.ts'
import { handshakeTime } from '#src/status/snapshot.ts'
import { PATIENCE, type PairFact, PeerCount, type Tally } from '#src/status/tally.ts'
import { VERSION } from '#src/version.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'
import { AT_A_TIME, inSlices } from '#wg/slices.ts'
import type { ClusterFeed } from './cluster-feed.ts'
import type { Dataplane } from './dataplane.ts'
import type { Health } from './health.ts'
import { conditionOf, isDue, mayHavePods } from './report-condition.ts'
import { type Circumstances, circumstanceEvents, peerEvents } from './report-events.ts'
import { GuardWatch } from './report-guard.ts'
import { pathEvents, type SmallerPaths } from './report-paths.ts'
import { PairWatch, type WatchedPeer } from './report-watch.ts'
import { takeSnapshot } from './snapshot.ts'
import { SnapshotFile } from './snapshot-file.ts'
import { TableFile } from './table-file.ts'

export interface ReportOptions {
  readonly client: ApiClient
  readonly nodeName: NodeName
  /** Of the agent itself. */
  readonly namespace: string
  readonly stateDir: string
  readonly log: Logger
}

/** What a pass has left. */
export interface PassOutcome {
  readonly feed: ClusterFeed
  readonly dataplane: Dataplane | undefined
  readonly enabled: Readonly<Record<Family, boolean>>
  readonly guard: GuardDecision
  /** What of the configuration this node cannot do, a sentence each. */
  readonly refused: readonly string[]
  readonly rotations: Circumstances['rotations']
  readonly health: Pick<Health, 'ready' | 'readyz'>
}

/** A look at all peers that takes long, as the mesh is large, takes at most this part of the time. */
const SHARE = 1 / 200
/**
 * Milliseconds at most between two of them, for each peer and in all: what begins and ends between two looks is never told, and
 * in a small mesh a look that took long had to wait for something else.
 */
const LONGEST_GAP_PER_PEER = 1
const LONGEST_GAP = 5_000

/** Milliseconds within which a watch may still show what was there before our own patch. */
const OWN_ECHO = 5_000

/**
 * Tells others what the agent knows, after every pass, or soon after it where that takes long: the snapshot in the state
 * directory, the Node condition, Events. Nothing that goes wrong here disturbs a pass.
 */
export class Report {
  readonly #nodeName: NodeName
  readonly #log: Logger
  readonly #condition: ConditionPublisher
  readonly #events: NodeEvents
  readonly #heartbeat: HeartbeatPublisher
  readonly #guardWatch = new GuardWatch(event => this.#events.emit(event))
  readonly #taint: StartupTaint
  readonly #file: SnapshotFile
  readonly #table: TableFile
  readonly #watches: Readonly<Record<Family, PairWatch>> = { 4: new PairWatch(), 6: new PairWatch() }
  /** Undefined before the first look: what an agent before this one has found is no news. */
  #paths: Record<Family, SmallerPaths | undefined> = { 4: undefined, 6: undefined }
  #circumstances: Circumstances = {
    enabled: undefined,
    refusedClaims: new Set(),
    refusedSettings: new Set(),
    quarrel: undefined,
    routeSource: undefined,
    publishedKeys: undefined,
    guardRefusals: new Set(),
    rotations: { 4: undefined, 6: undefined },
  }
  /** Since when encryption is on, in the agent's milliseconds: no peer can be overdue before that. */
  readonly #enabledSince: Record<Family, number | undefined> = { 4: undefined, 6: undefined }
  #tally: Tally | undefined
  /** Of any peer in any family, Unix nanoseconds; 0n for never. */
  #latestHandshake = 0n
  #untold: PassOutcome | undefined
  /** Why the last outcome could not be told. */
  readonly #faults = new Map<'circumstances' | 'peers', string>()
  #telling: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  /** Not before that, milliseconds of the agent's clock. */
  #tellAt = 0
  #observed: unknown
  #written: { readonly content: ConditionContent; readonly at: number } | undefined

  constructor({ client, nodeName, namespace, stateDir, log }: ReportOptions) {
    this.#nodeName = nodeName
    this.#log = log
    // What is written often enough to matter is held back by isDue().
    const limit = { interval: 60_000, most: 12 }
    this.#condition = new ConditionPublisher({ client, nodeName, logger: log, limit })
    this.#events = new NodeEvents({ client, nodeName, logger: log })
    this.#heartbeat = new HeartbeatPublisher({ client, nodeName, namespace, logger: log })
    this.#taint = new StartupTaint({ client, nodeName, logger: log })
    this.#file = new SnapshotFile(stateDir, log)
    this.#table = new TableFile(stateDir, log)
  }

  /** The peers as they were after the last pass; undefined before the first. */
  get tally(): Tally | undefined {
    return this.#tally
  }

  /** Keys, prefixes and addresses of other Nodes that are refused now, a sentence each that names both. */
  get refusedClaims(): ReadonlySet<string> {
    return this.#circumstances.refusedClaims
  }

  /** Events that were not written, because too many came. */
  get droppedEvents(): number {
    return this.#events.dropped
  }

  /** Takes in what a pass has left. What is not about each peer is told at once: it may be over before the next look at them. */
  after(outcome: PassOutcome): void {
    this.#untold = outcome
    try {
      this.#tellCircumstances(outcome)
      this.#faults.delete('circumstances')
    } catch (error) {
      this.#cannotTell('circumstances', error)
    }
    if (this.#timer || this.#telling) return
    const wait = this.#tellAt - performance.now()
    if (wait <= 0) this.#tellLatest()
    else this.#timer = setTimeout(() => this.#tellLatest(), wait).unref()
  }

  #tellLatest(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const outcome = this.#untold
    if (!outcome) return
    this.#untold = undefined
    const started = performance.now()
    this.#telling = this.#tell(outcome)
      .then(
        () => {
          this.#faults.delete('peers')
        },
        error => this.#cannotTell('peers', error),
      )
      .finally(() => {
        const ended = performance.now()
        const longest = Math.min(LONGEST_GAP, (this.#tally?.peers ?? 0) * LONGEST_GAP_PER_PEER)
        this.#tellAt = ended + Math.min(longest, (ended - started) / SHARE)
        this.#telling = undefined
        if (this.#untold) this.after(this.#untold)
      })
  }

  /** Once, until it is something else or could be told meanwhile. */
  #cannotTell(what: 'circumstances' | 'peers', error: unknown): void {
    const fault = messageOf(error)
    if (![...this.#faults.values()].includes(fault))
      this.#log.error({ event: 'untold', err: error }, `cannot tell what the mesh is like now: ${fault}`)
    this.#faults.set(what, fault)
  }

  async #tell(outcome: PassOutcome): Promise<void> {
    const { feed, dataplane, enabled, guard, health } = outcome
    const troubles = health.ready ? [] : health.readyz().body.trimEnd().split('\n')
    if (!isTelling(outcome)) return
    const now = performance.now()
    await this.#tellPeers(dataplane, now)
    this.#tellChange({ ...this.#circumstances, refusedClaims: refusedClaims(feed.nodes, dataplane) })
    await this.#tellCondition(outcome, troubles[0], now)
    void this.#guardWatch.look(guard.mode, now)
    const { nodes, settings, own } = feed
    if (own) this.#heartbeat.beat({ nodeUid: own.uid, latestHandshake: handshakeTime(this.#latestHandshake) })
    const watches = this.#watches
    const self = this.#nodeName
    const routeSource = feed.routes.source ?? 'PodCIDR'
    const { refusedSettings } = this.#circumstances
    const peerSource = feed.peers.source
    const input = { self, nodes, settings, routeSource, enabled, guard, refusedSettings, troubles, dataplane, watches }
    this.#file.offer(() => takeSnapshot({ ...input, peerSource }))
    void this.#table.keep(dataplane?.table)
  }

  async stop(): Promise<void> {
    await this.#telling
    this.#tellLatest()
    await this.#telling
    await Promise.all([
      this.#condition.stop(),
      this.#events.stop(),
      this.#heartbeat.stop(),
      this.#taint.stop(),
      this.#file.stop(),
      this.#table.stop(),
    ])
  }

  async #tellPeers(dataplane: Dataplane | undefined, now: number): Promise<void> {
    let latest = 0n
    const look = async (family: Family): Promise<void> => {
      const mesh = dataplane?.meshes[family]
      const kernelPeer = (node: NodeName, state: PeerState): PeerStatus | undefined => {
        const peer = mesh?.peer(node, state)
        if (peer && peer.latestHandshake > latest) latest = peer.latestHandshake
        return peer
      }
      const changes = await inSlices(this.#watches[family].look(mesh?.plan?.peers ?? new Map(), kernelPeer, now))
      for (const event of peerEvents(family, changes)) this.#events.emit(event)
    }
    for (const family of FAMILIES) await look(family)
    this.#latestHandshake = latest
    for (const family of FAMILIES) {
      const mesh = dataplane?.meshes[family]
      const last = this.#paths[family]
      this.#paths[family] = mesh?.smallerPaths
      const known = (node: NodeName) => mesh?.pathMtu(node) !== undefined
      for (const event of last && mesh ? pathEvents(family, last, mesh.smallerPaths, known) : [])
        this.#events.emit(event)
    }
  }

  /** What is told of other nodes waits for the look at them. */
  #tellCircumstances(outcome: PassOutcome): void {
    if (!isTelling(outcome)) return
    const { feed, dataplane, enabled, guard, refused, rotations } = outcome
    this.#tellChange({
      ...this.#circumstances,
      enabled,
      refusedSettings: new Set([...feed.faults, ...refused, ...(dataplane?.rivals ?? [])]),
      quarrel: dataplane?.repairs.quarrel(),
      routeSource: feed.routes.source,
      publishedKeys: { 4: feed.own?.announced[4]?.publicKey, 6: feed.own?.announced[6]?.publicKey },
      guardRefusals: new Set(guard.refusals),
      rotations,
    })
  }

  #tellChange(after: Circumstances): void {
    for (const event of circumstanceEvents(this.#circumstances, after)) this.#events.emit(event)
    this.#circumstances = after
  }

  async #tellCondition({ feed, enabled, guard }: PassOutcome, trouble: string | undefined, now: number): Promise<void> {
    this.#minds(feed.ownConditions, now)
    const tally = await inSlices(this.#count(feed, enabled, now))
    this.#tally = tally
    const by = { guard: guard.mode, version: VERSION }
    const content = conditionOf({ enabled: enabled[4] || enabled[6], trouble, tally, by }, this.#written?.content)
    // The watch shows it until it is gone; a node that need not encrypt has nothing to wait for.
    if (feed.ownTainted && trouble === undefined && mayHavePods(content)) this.#taint.remove()
    if (!isDue(content, this.#written, tally.peers, now)) return
    this.#written = { content, at: now }
    this.#condition.set(content)
  }

  /** What somebody made of our condition is set right; what is older than our own writing is no news. */
  #minds(conditions: unknown, now: number): void {
    if (conditions === this.#observed || now - (this.#written?.at ?? 0) < OWN_ECHO) return
    this.#observed = conditions
    this.#condition.observed(conditions)
  }

  /** Each peer that pods may talk to, in steps. */
  *#count(feed: ClusterFeed, enabled: PassOutcome['enabled'], now: number): Generator<undefined, Tally> {
    const patientUntil: Record<Family, number> = { 4: now, 6: now }
    for (const family of FAMILIES) {
      this.#enabledSince[family] = enabled[family] ? (this.#enabledSince[family] ?? now) : undefined
      patientUntil[family] = (this.#enabledSince[family] ?? now) + PATIENCE
    }
    const families = FAMILIES.filter(family => enabled[family])
    const count = new PeerCount()
    // One list for all of them: a look at thousands should leave nothing behind.
    const facts: PairFact[] = []
    let looked = 0
    // As they are at this moment: one that went and came back meanwhile would come twice.
    for (const node of [...feed.nodes.values()]) {
      if (++looked % AT_A_TIME === 0) yield
      const { name } = node
      if (name === this.#nodeName) continue
      facts.length = 0
      for (const family of families)
        if (hasFamily(node, family))
          facts.push(factOf(name, family, this.#watches[family].pairs.get(name), now, patientUntil[family]))
      count.add(facts)
    }
    return count.end()
  }
}

/** Before that everything would look as if it had been turned off. */
const isTelling = ({ feed }: PassOutcome): boolean => feed.synced && feed.own !== undefined

function factOf(
  node: NodeName,
  family: Family,
  watched: WatchedPeer | undefined,
  now: number,
  patientUntil: number,
): PairFact {
  const { state, since, silentSince } = watched ?? {}
  return {
    node,
    family,
    phase: state?.phase ?? 'absent',
    reason: state?.reason ?? 'not looked at yet',
    overdue: since !== undefined && now > Math.max(since + PATIENCE, patientUntil),
    silent: silentSince !== undefined,
  }
}

function refusedClaims(nodes: ReadonlyMap<NodeName, NodeRecord>, dataplane: Dataplane | undefined): Set<string> {
  const refused = new Set<string>()
  for (const family of FAMILIES)
    for (const [node, claims] of dataplane?.meshes[family].plan?.refused ?? [])
      for (const claim of claims) refused.add(`Node ${node}: ${claim}`)
  for (const { name, faults } of nodes.values())
    for (const fault of faults) if (fault.startsWith('annotation ')) refused.add(`Node ${name}: ${fault}`)
  return refused
}
