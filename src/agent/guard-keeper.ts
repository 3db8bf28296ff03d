import { LinePace } from '#src/cluster/line-pace.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { HELLO_PORT } from '#src/hello/message.ts'
import { FirewallPlanner } from '#src/mesh/firewall.ts'
import {
  type Armed,
  armedAfter,
  decideGuard,
  type GuardDecision,
  type PodPlaces,
  type PodveilSettings,
} from '#src/mesh/guard.ts'
import { SPARE_DEVICES, wireguardMark } from '#src/mesh/marks.ts'
import { LANES, type NodeName, type NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerStates } from '#src/mesh/peer-machine.ts'
import { rangesAround, StrayPods } from '#src/mesh/pod-ranges.ts'
import { type Cidr, type Endpoint, FAMILIES, type Family } from '#wg/ip.ts'
import { contentsInSteps, type DesiredFirewall, replacement, structure } from '#wg/nftables/ruleset.ts'
import { sameInputs } from '#wg/same-inputs.ts'
import { inSlices } from '#wg/slices.ts'
import { Follower, Table } from '#wg/table.ts'
import type { ClusterFeed } from './cluster-feed.ts'
import type { Dataplane } from './dataplane.ts'
import type { DeviceIdentities, FamilyMesh } from './family-mesh.ts'
import { GuardFiles } from './guard-files.ts'

/** Milliseconds between two lines that say that the guard was opened by hand. */
const REMIND = 60_000

/** For whom something has changed that decides who is armed in one family. */
class Armable {
  readonly #nodes = new Follower<NodeName>()
  readonly #pairs = new Follower<NodeName>()
  readonly #heard = { main: new Follower<NodeName>(), spare: new Follower<NodeName>() }
  #circumstances: readonly unknown[] = []

  take(nodes: ReadonlyMap<NodeName, unknown>, mesh: FamilyMesh, circumstances: readonly unknown[]): Set<NodeName> {
    const pairs = mesh.plan?.peers ?? NO_PAIRS
    const changed = [
      ...[this.#nodes.take(nodes), this.#pairs.take(pairs)],
      ...LANES.map(lane => this.#heard[lane].take(mesh.heard(lane))),
    ]
    const same = sameInputs(this.#circumstances, circumstances)
    this.#circumstances = circumstances
    const known = changed.filter(names => names !== undefined)
    return same && known.length === changed.length
      ? new Set(known.flatMap(names => [...names]))
      : new Set([...nodes.keys(), ...pairs.keys(), ...LANES.flatMap(lane => [...mesh.heard(lane).keys()])])
  }
}

const NO_PAIRS: PeerStates = new Table()

/** Decides what the guard does, keeps the packet filter at it, and remembers what must outlive the agent. */
export class GuardKeeper {
  readonly #self: NodeName
  readonly #feed: ClusterFeed
  readonly #log: Logger
  readonly #files: GuardFiles
  /** Never changed in place. */
  #armed: Armed | undefined
  readonly #armable: Readonly<Record<Family, Armable>> = { 4: new Armable(), 6: new Armable() }
  #planner = new FirewallPlanner()
  /** What the ruleset on disk was made of; `null` before it was looked at. */
  #atBoot: DesiredFirewall | undefined | null = null
  /** Families that were encrypted when the guard was last closed, and stay so while it is. */
  #held: Readonly<Record<Family, boolean>> = { 4: false, 6: false }
  readonly #strays = new StrayPods()
  /** What was told to somebody who has set no supernets: the same until he has. */
  #around: readonly Cidr[] | undefined
  readonly #pace = new LinePace()
  #told = ''
  #toldAt = Number.NEGATIVE_INFINITY

  constructor(self: NodeName, feed: ClusterFeed, stateDir: string, log: Logger) {
    this.#self = self
    this.#feed = feed
    this.#log = log
    this.#files = new GuardFiles(stateDir)
  }

  /** What the operator's switches say. */
  get switches(): Readonly<Record<Family, boolean>> {
    const { wireguard, ipv6Support } = this.#feed.settings
    return { 4: wireguard[4].enabled, 6: wireguard[6].enabled && ipv6Support }
  }

  /** Which families are to be encrypted, the guard's word included. */
  enabled({ keepsOn }: GuardDecision): Record<Family, boolean> {
    return { 4: this.switches[4] || keepsOn.includes(4), 6: this.switches[6] || keepsOn.includes(6) }
  }

  async decide(own: NodeRecord): Promise<GuardDecision> {
    this.#armed ??= await this.#files.readArmed()
    const { podveil, nodes } = this.#feed
    const broken = await this.#files.broken()
    if (broken !== undefined) {
      const refusal = `the guard was opened on this node by hand (${broken}): nothing keeps pod traffic out of the clear. Close it with \`podveil break-glass --mend\``
      this.#tell(refusal, REMIND)
      return { mode: 'off', keepsOn: [], refusals: [refusal] }
    }
    // Annotations may have been removed by whoever turned encryption off.
    const running = {
      4: own.announced[4] !== undefined || this.#held[4],
      6: own.announced[6] !== undefined || this.#held[6],
    }
    const decision = decideGuard(podveil, this.switches, running, this.#podPlaces(podveil, nodes))
    this.#held = decision.mode === 'enforce' ? this.enabled(decision) : { 4: false, 6: false }
    this.#tell(decision.refusals.join('; '), Number.POSITIVE_INFINITY)
    return decision
  }

  #podPlaces({ guard, podSupernets }: PodveilSettings, nodes: ReadonlyMap<NodeName, NodeRecord>): PodPlaces {
    if (guard === 'enforce' && podSupernets.length === 0) this.#around ??= rangesAround(nodes.values())
    else this.#around = undefined
    const strays = guard === 'enforce' ? this.#strays.take(nodes, podSupernets) : []
    return { around: this.#around ?? [], strays }
  }

  /**
   * Takes in what peers say: one that steers to us is held to it, as what then still comes from it in clear is not its.
   * Under enforce nothing but its leaving the cluster ends that.
   */
  async arm(dataplane: Dataplane, { mode }: GuardDecision, enabled: Readonly<Record<Family, boolean>>): Promise<void> {
    const armed = this.#armed
    if (!armed) return
    const { nodes } = this.#feed
    const after = (family: Family) => {
      const mesh = dataplane.meshes[family]
      const steers = (node: NodeName) => mesh.isSteering(node)
      const names = this.#armable[family].take(nodes, mesh, [armed[family], mode, enabled[family]])
      const there = [...names].filter(node => nodes.has(node) || steers(node))
      return armedAfter(armed[family], steers, there, { mode, enabled: enabled[family] }, node => {
        const phase = mesh.plan?.peers.get(node)?.phase
        return phase === 'encrypting' || phase === 'accepting' || !nodes.has(node)
      })
    }
    const [v4, v6] = [after(4), after(6)]
    if (v4 !== armed[4] || v6 !== armed[6]) this.#armed = { 4: v4, 6: v6 }
    await this.#files.keepArmed(this.#armed ?? armed)
  }

  /**
   * Brings the packet filter to what the decision and the plans ask for. Before every family has a plan only `enforce`
   * knows enough: what an earlier agent left must not be taken down because this one has just begun.
   * @param apiServers undefined without host encryption
   */
  async filter(
    dataplane: Dataplane,
    { mode }: GuardDecision,
    identities: readonly DeviceIdentities[],
    apiServers: readonly Endpoint[] | undefined,
  ): Promise<void> {
    const planned = FAMILIES.every(family => dataplane.meshes[family].plan !== undefined)
    if (!planned && mode !== 'enforce') return
    const desired = await this.#desired(dataplane, mode, identities, apiServers)
    await dataplane.filter(desired)
    const atBoot = mode === 'enforce' ? desired : undefined
    if (atBoot === this.#atBoot) return
    const ruleset = atBoot && replacement(structure(atBoot), await inSlices(contentsInSteps(atBoot)))
    await this.#files.keepRuleset(ruleset)
    this.#atBoot = atBoot
  }

  async #desired(
    dataplane: Dataplane,
    mode: GuardDecision['mode'],
    identities: readonly DeviceIdentities[],
    apiServers: readonly Endpoint[] | undefined,
  ): Promise<DesiredFirewall | undefined> {
    const { wireguard, markMask } = this.#feed.settings
    const { nodes, podveil } = this.#feed
    const devices = FAMILIES.flatMap(family => dataplane.meshes[family].plan?.desired.devices ?? [])
    if (devices.length === 0 && mode !== 'enforce') return undefined
    // What is there, and what is to be there: a device that gets another name or port must find its rules in place.
    const own = identities.flatMap(({ main, spare }) => [main, spare]).filter(device => device !== undefined)
    const names = [...FAMILIES.map(family => wireguard[family].interfaceName), ...Object.values(SPARE_DEVICES)]
    const ports = new Set([
      ...FAMILIES.map(family => wireguard[family].listeningPort),
      ...own.map(({ listenPort }) => listenPort),
    ])
    const armed = this.#armed ?? { 4: new Set(), 6: new Set() }
    const facts = {
      self: this.#self,
      nodes,
      devices: [...new Set([...names, ...own.map(({ name }) => name)])],
      deviceAddresses: devices.flatMap(device => [...device.addresses]),
      mark: wireguardMark(markMask),
      helloPort: HELLO_PORT,
      apiServers,
      guard: mode === 'off' ? undefined : { mode, settings: podveil, armed, wireguardPorts: [...ports] },
    }
    try {
      return await inSlices(this.#planner.plan(facts))
    } catch (error) {
      this.#planner = new FirewallPlanner()
      throw error
    }
  }

  /** @param again milliseconds after which the same is said once more */
  #tell(words: string, again: number): void {
    const now = performance.now()
    const isDue = words !== this.#told || now - this.#toldAt >= again
    // What a node has for its pods may be in it, which is not to fill the log of every other node.
    if (words !== '' && isDue && this.#pace.say(now) !== undefined) {
      this.#log.warn({ event: 'guard-not-enforced' }, words)
      this.#toldAt = now
    }
    this.#told = words
  }
}
