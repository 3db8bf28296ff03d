import { networkInterfaces } from 'node:os'
import { KeyFileError } from '#keys/errors.ts'
import type { PrivateKey } from '#keys/private-key.ts'
import type { ApiClient } from '#src/cluster/api-client.ts'
import { sleep, systemClock } from '#src/cluster/clock.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { familyConfig } from '#src/mesh/family-config.ts'
import type { FamilyConfig } from '#src/mesh/family-view.ts'
import type { GuardDecision } from '#src/mesh/guard.ts'
import { SPARE_DEVICES } from '#src/mesh/marks.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { LogSeverity } from '#src/mesh/settings.ts'
import type { PairState } from '#src/status/tally.ts'
import { DeviceError } from '#wg/device/device.ts'
import type { DevicePreference } from '#wg/device/probe.ts'
import { FAMILIES, type Family, familyOf, type IpAddress } from '#wg/ip.ts'
import { AgentMetrics } from './agent-metrics.ts'
import type { FamilyAnnouncement } from './announce.ts'
import { Announcer } from './announcer.ts'
import { ApiPlaces } from './api-places.ts'
import { ClusterFeed } from './cluster-feed.ts'
import { Dataplane } from './dataplane.ts'
import { DeviceFile } from './device-file.ts'
import { GuardKeeper } from './guard-keeper.ts'
import { Health } from './health.ts'
import { Keyring } from './keyring.ts'
import { Loop } from './loop.ts'
import { probeTimes } from './probe-times.ts'
import { NO_DEVICES, Renewal, type Renewed } from './renewal.ts'
import { Report } from './report.ts'
import { Retry } from './retry.ts'
import { peersLeft, startDelay } from './start-delay.ts'
import { Threading } from './threading.ts'

export interface MeshAgentOptions {
  readonly client: ApiClient
  readonly nodeName: NodeName
  /** Where the agents are installed. */
  readonly namespace: string
  readonly machineId: string
  readonly stateDir: string
  readonly dataplane: DevicePreference
  /** For FELIX_*. */
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly log: Logger
  /** Is told what the configuration says of the log's level, at every change; undefined where it says nothing. */
  readonly setLogLevel: (level: LogSeverity | undefined) => void
}

/** The agent of one node: what the cluster says goes in, what the kernel must hold and what the Node must say come out. */
export class MeshAgent {
  readonly health: Health
  readonly metrics: AgentMetrics
  readonly #options: MeshAgentOptions
  readonly #log: Logger
  readonly #feed: ClusterFeed
  readonly #announcer: Announcer
  readonly #loop: Loop
  readonly #retries: Readonly<Record<'agent' | Family, Retry>>
  #dataplane: Dataplane | undefined
  #keyring: Keyring | undefined
  readonly #report: Report
  #missing = ''
  readonly #guardKeeper: GuardKeeper
  readonly #threading: Threading
  readonly #heldDevices: DeviceFile
  readonly #renewals: Readonly<Record<Family, Renewal>>
  #guard: GuardDecision | undefined
  readonly #apiPlaces: ApiPlaces
  readonly #hostFaults: Record<Family, string | undefined> = { 4: undefined, 6: undefined }
  #auditAt = Number.POSITIVE_INFINITY
  /** Milliseconds, that `#auditAt` follows from. */
  #auditPeriod: number | undefined
  readonly #stopping = new AbortController()
  #starting: Promise<void> | undefined

  constructor(options: MeshAgentOptions) {
    const { client, nodeName, namespace, environment, log } = options
    this.#options = options
    this.#log = log
    this.#loop = new Loop(() => this.#pass())
    this.#apiPlaces = new ApiPlaces(client.server, () => this.#loop.wake())
    this.#feed = new ClusterFeed(client, nodeName, environment, log, () => this.#changed())
    this.#guardKeeper = new GuardKeeper(nodeName, this.#feed, options.stateDir, log)
    this.#threading = new Threading(log)
    this.#heldDevices = new DeviceFile(options.stateDir)
    const renewal = (family: Family) => new Renewal(family, nodeName, this.#heldDevices, log)
    this.#renewals = { 4: renewal(4), 6: renewal(6) }
    this.#announcer = new Announcer({ client, nodeName, log })
    this.health = new Health(() => this.#loop.idleFor)
    this.#report = new Report({ client, nodeName, namespace, stateDir: options.stateDir, log })
    this.metrics = new AgentMetrics({
      self: nodeName,
      feed: this.#feed,
      dataplane: () => this.#dataplane,
      report: this.#report,
      stateDir: options.stateDir,
    })
    this.#retries = { agent: new Retry(log), 4: new Retry(log), 6: new Retry(log) }
  }

  /** Peers that pod traffic goes to in clear, and should not. */
  get inClear(): readonly PairState[] {
    return this.#report.tally?.others.filter(({ state }) => state === 'clear') ?? []
  }

  start(): void {
    this.#loop.wake()
    this.#starting = this.#startFeed()
  }

  /** Ends the agent; the kernel keeps what was set and the Node what was published. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#starting
    await this.#feed.stop()
    await this.#announcer.stop()
    await this.#loop.stop()
    await this.#report.stop()
    this.#dataplane?.[Symbol.dispose]()
  }

  async #startFeed(): Promise<void> {
    const links = new Set(Object.keys(networkInterfaces()))
    const peers = await peersLeft(this.#options.stateDir, this.#heldDevices, links)
    await sleep(systemClock, startDelay(peers, Math.random), this.#stopping.signal)
    if (!this.#stopping.signal.aborted) this.#feed.start()
  }

  #changed(): void {
    this.#options.setLogLevel(this.#feed.settings.logSeverity)
    this.#announcer.observed(this.#feed)
    this.#loop.wake()
  }

  /** @returns when the next pass is due */
  async #pass(): Promise<number> {
    const started = performance.now()
    try {
      const due = await this.#work(started)
      this.#retries.agent.succeeded()
      this.health.set('agent', undefined)
      return due
    } catch (error) {
      this.metrics.reconcileFailures.add()
      this.metrics.countNetlinkError(error)
      this.health.set('agent', messageOf(error))
      return started + this.#retries.agent.failed(describe(error))
    } finally {
      // Only now: while the first pass is under way, nothing is in the kernel yet.
      if (this.#feed.synced && this.#feed.own) this.health.set('cluster', undefined)
      this.metrics.reconcileSeconds.observe((performance.now() - started) / 1000)
      this.#tell()
    }
  }

  /** What the pass has left, for those who ask. */
  #tell(): void {
    const guard = this.#guard
    if (!guard) return
    const { health } = this
    this.#report.after({
      feed: this.#feed,
      dataplane: this.#dataplane,
      enabled: this.#guardKeeper.enabled(guard),
      guard,
      refused: this.#refused(guard),
      rotations: { 4: this.#renewals[4].rotation, 6: this.#renewals[6].rotation },
      health,
    })
  }

  /** What of the configuration this node does not do, a sentence each. */
  #refused({ mode }: GuardDecision): string[] {
    const { refusal } = this.#threading
    return [
      ...(refusal === undefined ? [] : [refusal]),
      ...new Set(FAMILIES.flatMap(family => this.#hostFaults[family] ?? [])),
      ...(mode === 'enforce' && this.#feed.settings.routeSyncDisabled ? [NO_ROUTES_REFUSED] : []),
    ]
  }

  async #work(now: number): Promise<number> {
    const own = this.#ownNode()
    if (!own) return now + 30_000
    const guard = await this.#guardKeeper.decide(own)
    this.#guard = guard
    const enabled = this.#guardKeeper.enabled(guard)
    const keyring = await this.#openKeyring(own, enabled)
    // Without a key there never was a device of ours: a node that never encrypted opens nothing.
    if (!keyring) return Number.POSITIVE_INFINITY
    const dataplane = await this.#openDataplane()
    this.#audit(dataplane, now)
    const due = [this.#auditAt]
    const announced: Record<Family, FamilyAnnouncement> = { 4: SILENCE, 6: SILENCE }
    const renewed = { 4: await this.#renew(4, keyring, dataplane), 6: await this.#renew(6, keyring, dataplane) }
    const identities = FAMILIES.map(family => renewed[family].identities)
    const apiServers = this.#feed.settings.hostEncryptionEnabled ? this.#apiPlaces.current(now) : undefined
    await this.#guardKeeper.filter(dataplane, guard, identities, apiServers)
    for (const family of FAMILIES) {
      due.push(await this.#passFamily(dataplane, family, renewed[family], enabled[family], keyring, now))
      const { plan } = dataplane.meshes[family]
      // A first pass that failed says nothing: what the Node says already stays.
      announced[family] = plan
        ? { main: plan.announce, spare: plan.announceSpare }
        : { main: own.announced[family], spare: own.spare[family] }
      this.#judge(family, enabled[family], own, announced[family])
    }
    await this.#guardKeeper.arm(dataplane, guard, enabled)
    await this.#guardKeeper.filter(dataplane, guard, identities, apiServers)
    this.#announcer.announce(announced)
    if (FAMILIES.every(family => dataplane.meshes[family].holdsKeys)) await keyring.leaveDisk()
    return Math.min(...due)
  }

  /** @throws KeyFileError */
  async #renew(family: Family, keyring: Keyring, dataplane: Dataplane): Promise<Renewed> {
    const { settings, podveil, nodes } = this.#feed
    let config: FamilyConfig
    try {
      config = familyConfig(family, settings, dataplane.links)
    } catch {
      // The family's own pass says so; the other one goes on.
      return NO_DEVICES
    }
    return await this.#renewals[family].devices(config, podveil, keyring, dataplane.meshes[family], nodes)
  }

  #ownNode(): NodeRecord | undefined {
    if (!this.#feed.synced) {
      this.health.set('cluster', 'the API server has not been read yet')
      return undefined
    }
    const { own } = this.#feed
    const missing = `there is no Node ${this.#options.nodeName}: is --node-name (NODE_NAME) right?`
    if (!own) this.health.set('cluster', missing)
    if (!own && this.#missing !== missing) this.#log.warn({ event: 'node-missing' }, missing)
    this.#missing = own ? '' : missing
    return own
  }

  /** @returns undefined when there never was a key, and none is to be made */
  async #openKeyring(own: NodeRecord, enabled: Readonly<Record<Family, boolean>>): Promise<Keyring | undefined> {
    const { stateDir, machineId } = this.#options
    this.#keyring ??= new Keyring({
      stateDir,
      binding: { machineId, nodeUid: own.uid },
      keysOfDevices: () => this.#keysOfDevices(),
      log: this.#log,
    })
    const hasHadKeys = await this.#keyring.open(this.#feed.podveil.keyStorage)
    const needed = FAMILIES.filter(family => enabled[family])
    await this.#keyring.create(needed)
    return hasHadKeys || needed.length > 0 ? this.#keyring : undefined
  }

  /** Of all that an earlier agent may have made. */
  async #keysOfDevices(): Promise<PrivateKey[]> {
    const dataplane = await this.#openDataplane()
    const held = await Promise.all(FAMILIES.map(family => this.#heldDevices.held(family)))
    return await dataplane.privateKeys([...this.#deviceNames, ...held.flatMap(device => device?.name ?? [])])
  }

  get #deviceNames(): string[] {
    const { wireguard } = this.#feed.settings
    return FAMILIES.flatMap(family => [wireguard[family].interfaceName, SPARE_DEVICES[family]])
  }

  async #openDataplane(): Promise<Dataplane> {
    if (this.#dataplane) return this.#dataplane
    const { dataplane, nodeName, stateDir, environment } = this.#options
    const names = this.#deviceNames
    try {
      this.#dataplane = await Dataplane.open(
        { preference: dataplane, names, self: nodeName, stateDir, log: this.#log, probeTimes: probeTimes(environment) },
        () => this.#loop.wake(),
      )
    } catch (error) {
      // Others must not send into a tunnel that this node cannot have.
      if (error instanceof DeviceError) this.#announcer.announce({ 4: SILENCE, 6: SILENCE })
      throw error
    }
    this.#log.info(
      { event: 'dataplane-opened', dataplane: this.#dataplane.kind },
      `WireGuard of the ${this.#dataplane.kind}`,
    )
    return this.#dataplane
  }

  /** Now and then the kernel is read anew: what no event tells, a changed peer or sysctl, is found then. */
  #audit(dataplane: Dataplane, now: number): void {
    const period = this.#feed.settings.routeRefreshInterval * 1000
    if (period !== this.#auditPeriod) {
      this.#auditPeriod = period
      this.#auditAt = period === 0 ? Number.POSITIVE_INFINITY : now + period
    } else if (now >= this.#auditAt) {
      this.#auditAt = now + period * (0.9 + Math.random() * 0.2)
      dataplane.distrust()
    }
  }

  /** One family's trouble is not the other's. */
  async #passFamily(
    dataplane: Dataplane,
    family: Family,
    renewed: Renewed,
    enabled: boolean,
    keyring: Keyring,
    now: number,
  ): Promise<number> {
    const retry = this.#retries[family]
    if (retry.waitsUntil > now) return retry.waitsUntil
    try {
      const config = familyConfig(family, this.#feed.settings, dataplane.links)
      const { nodes, routes: cidrSource } = this.#feed
      const links = new Set(dataplane.links.map(({ name }) => name))
      const pinsEndpoints = this.#guard?.mode === 'enforce'
      const routeSync = !this.#feed.settings.routeSyncDisabled || pinsEndpoints
      const { natExceptions, pathMtuProbing } = this.#feed.podveil
      const mesh = dataplane.meshes[family]
      const view = { nodes, cidrSource, enabled, routeSync, natExceptions, pinsEndpoints, pathMtuProbing, config }
      const hostSource = enabled ? this.#hostSource(family, config) : undefined
      const input = { ...view, hostSource, links, ...renewed }
      const due = await mesh.pass(input, now)
      await this.#keepThreading(dataplane, family)
      retry.succeeded()
      this.health.set(`IPv${family}`, undefined)
      const { plan } = mesh
      if (!plan) return due
      const spareIsUp = plan.announceSpare !== undefined
      const next = await this.#renewals[family].advance(plan.moving, spareIsUp, config, keyring, now)
      if (next === now) this.metrics.deviceChanges.add({ family: String(family) })
      return Math.min(due, next)
    } catch (error) {
      this.metrics.reconcileFailures.add({ family: String(family) })
      this.metrics.countNetlinkError(error)
      this.health.set(`IPv${family}`, messageOf(error))
      return now + retry.failed(describe(error))
    }
  }

  /** Where what this host sends to other nodes comes from by itself, which it must go on to. */
  #hostSource(family: Family, { tables }: FamilyConfig): IpAddress | undefined {
    this.#hostFaults[family] = undefined
    if (!this.#feed.settings.hostEncryptionEnabled) return undefined
    if (tables.hosts === undefined) {
      this.#hostFaults[family] = NO_HOST_TABLE
      return undefined
    }
    const local = new Set(Object.values(networkInterfaces()).flatMap(all => all?.map(({ address }) => address) ?? []))
    const own = this.#feed.own?.addresses.filter(address => familyOf(address) === family) ?? []
    const source = own.find(address => local.has(address))
    if (source === undefined && own.length > 0) this.#hostFaults[family] = noHostAddress(family)
    return source
  }

  /** A device in user space has no NAPI of its own. */
  async #keepThreading(dataplane: Dataplane, family: Family): Promise<void> {
    if (dataplane.kind !== 'kernel') return
    const { threadingEnabled } = this.#feed.settings
    for (const { name, index } of dataplane.meshes[family].links)
      await this.#threading.keep(name, index, threadingEnabled)
  }

  #judge(family: Family, enabled: boolean, own: NodeRecord, announced: FamilyAnnouncement): void {
    const published = own.announced[family]?.publicKey
    const waits = enabled && (announced.main === undefined || announced.main.publicKey !== published)
    this.health.set(`IPv${family} key`, waits ? 'not published yet' : undefined)
  }
}

const SILENCE: FamilyAnnouncement = { main: undefined, spare: undefined }

const NO_HOST_TABLE =
  'wireguardHostEncryptionEnabled is refused: it needs a fifth table. Widen routeTableRanges in FelixConfiguration; 1-250 is the default'

const noHostAddress = (family: Family): string =>
  `wireguardHostEncryptionEnabled is refused for IPv${family}: no interface of this host has the address that its Node publishes. Correct status.addresses (the kubelet's --node-ip)`

const NO_ROUTES_REFUSED =
  'routeSyncDisabled is refused: the guard is on enforce, and without routes nothing would be encrypted. Set guard to audit or off in PodveilConfiguration first'

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const describe = (error: unknown): string =>
  error instanceof KeyFileError ? `private keys: ${error.message}` : messageOf(error)
