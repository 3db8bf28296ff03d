import type { PublicKey } from '#keys/public-key.ts'
import type { Logger } from '#src/cluster/logger.ts'
import type { EchoFigures } from '#src/hello/echo-meter.ts'
import { PROBE_TIMES } from '#src/hello/path-prober.ts'
import { adoptInSlices } from '#src/mesh/adopt.ts'
import type { CidrSource } from '#src/mesh/claims.ts'
import type { DeviceIdentity, FamilyConfig, FamilyView, LaneView } from '#src/mesh/family-view.ts'
import type { HeardHello, HelloContent } from '#src/mesh/hello-content.ts'
import { type LaneStates, laneOf } from '#src/mesh/lanes.ts'
import { LeftAddresses } from '#src/mesh/left-addresses.ts'
import { isProven } from '#src/mesh/move.ts'
import { LANES, type Lane, type NodeName, type NodeRecord } from '#src/mesh/node-record.ts'
import { obstacle, rivals } from '#src/mesh/obstacles.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import { type FamilyPlan, helloOf, planInSlices } from '#src/mesh/plan.ts'
import { PlanMemory } from '#src/mesh/plan-memory.ts'
import { hasFamily } from '#src/mesh/record-facts.ts'
import { TunnelPulse } from '#src/mesh/tunnel-pulse.ts'
import type { DeviceStatus, PeerStatus } from '#wg/device/device.ts'
import type { Cidr, Family, IpAddress } from '#wg/ip.ts'
import type { Ownership } from '#wg/reconcile/desired.ts'
import type { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import type { RouteEvent } from '#wg/rtnetlink/monitor.ts'
import { inSlices } from '#wg/slices.ts'
import { Table } from '#wg/table.ts'
import { DeviceLook } from './device-look.ts'
import { HelloExchange } from './hello-exchange.ts'
import { MeasuredPairs } from './measured-pairs.ts'
import { bothOwned, ownershipOf, sameOwnership } from './ownership.ts'
import { logPairs } from './pair-log.ts'
import { PathMtus } from './path-mtus.ts'
import { routedPaths } from './routed-paths.ts'
import { Said } from './said.ts'

/** A plan that follows from its own effects settles in two rounds; more would be an argument with the kernel. */
const MAX_ROUNDS = 4

/** Nodes that are looked at between two looks at the clock. */
const MOST = 32

/** What one pass is given. */
export interface MeshInput {
  readonly nodes: ReadonlyMap<NodeName, NodeRecord>
  readonly cidrSource: CidrSource
  readonly enabled: boolean
  readonly routeSync: boolean
  readonly natExceptions: readonly Cidr[]
  readonly pinsEndpoints: boolean
  /** Whether paths are asked how large a packet may be. */
  readonly pathMtuProbing: boolean
  readonly config: FamilyConfig
  /** Where what this node sends to other nodes comes from; undefined without host encryption. */
  readonly hostSource: IpAddress | undefined
  readonly identities: DeviceIdentities
  /** The main device is to get another key, port or name as soon as nothing goes by it. */
  readonly mainChanges: boolean
  /** Names of all links of the host. */
  readonly links: ReadonlySet<string>
}

export type DeviceIdentities = Readonly<Record<Lane, DeviceIdentity | undefined>>

/** The mesh of one family on this node: observes, plans, reconciles and speaks, one pass at a time. */
export class FamilyMesh {
  readonly family: Family
  readonly #self: NodeName
  readonly #kernel: FamilyKernel
  readonly #log: Logger
  readonly #hellos: Readonly<Record<Lane, HelloExchange>>
  readonly #paths: PathMtus
  readonly #left = new LeftAddresses()
  #states: LaneStates | undefined
  #plan: FamilyPlan | undefined
  readonly #memory = new PlanMemory()
  readonly #said: Readonly<Record<Lane, Said>> = { main: new Said(), spare: new Said() }
  #input: MeshInput | undefined
  readonly #looks: DeviceLook
  readonly #measured: MeasuredPairs
  #ownership: Ownership | undefined
  #rivals: readonly string[] = []
  readonly #pulse = new TunnelPulse()

  /** @param wake asks for another pass soon */
  constructor(
    family: Family,
    self: NodeName,
    kernel: FamilyKernel,
    log: Logger,
    wake: () => void,
    probeTimes = PROBE_TIMES,
  ) {
    this.family = family
    this.#self = self
    this.#kernel = kernel
    this.#looks = new DeviceLook(kernel)
    this.#log = log
    this.#paths = new PathMtus(family, probeTimes, log, wake)
    const exchange = () => new HelloExchange(log, wake, this.#paths)
    this.#hellos = { main: exchange(), spare: exchange() }
    this.#measured = new MeasuredPairs(this.#hellos, this.#paths)
  }

  get plan(): FamilyPlan | undefined {
    return this.#plan
  }

  /** The last thing heard of each peer by one device. Live. */
  heard(lane: Lane): ReadonlyMap<NodeName, HeardHello> {
    return this.#hellos[lane].heard()
  }

  /** It has said, through either device, that it steers to us. */
  isSteering(node: NodeName): boolean {
    return LANES.some(lane => this.heard(lane).get(node)?.steers === true)
  }

  /** What somebody else has in the kernel that may take packets from the mesh, a sentence each. */
  get rivals(): readonly string[] {
    return this.#rivals
  }

  /** What the kernel has of our devices, the main one first. */
  get devices(): readonly DeviceStatus[] {
    const { main, spare } = this.#names
    return [main, spare].flatMap(name => (name === undefined ? [] : (this.#kernel.device(name) ?? [])))
  }

  /** Every device that is to be there has the key that it is to have, as the kernel says. */
  get holdsKeys(): boolean {
    const desired = this.#plan?.desired.devices
    return desired?.every(one => this.#kernel.device(one.name)?.publicKey === one.privateKey.publicKey()) ?? false
  }

  /** Our devices as links, those that there are. */
  get links(): readonly { readonly name: string; readonly index: number }[] {
    return Object.values(this.#names).flatMap(name => {
      const index = name === undefined ? undefined : this.#kernel.index(name)
      return name === undefined || index === undefined ? [] : [{ name, index }]
    })
  }

  /**
   * The peer that stands for a pair: of the device which the pair's traffic is on.
   * @param state of the pair
   */
  peer(node: NodeName, state = this.#plan?.peers.get(node)): PeerStatus | undefined {
    if (state === undefined || state.phase === 'absent') return undefined
    const name = this.#names[this.laneOf(node)]
    return name === undefined ? undefined : this.#kernel.peers(name)?.get(state.key)
  }

  /** Destinations that go into a tunnel. */
  get steered(): ReadonlySet<Cidr> {
    return new Set(LANES.flatMap(lane => [...this.#steered(lane)]))
  }

  /** Somebody's traffic goes by the spare device, ours or theirs, or may from now on, as a peer has said that it accepts from it. */
  get isCarriedBySpare(): boolean {
    const theirs = [...this.#hellos.spare.heard().values()].some(({ steers }) => steers)
    return theirs || this.#steered('spare').size > 0 || (this.#states !== undefined && isProven(this.#states.spare))
  }

  /** The device that the pair's state is about. */
  laneOf(node: NodeName): Lane {
    return (this.#states && laneOf(this.#states, node)) ?? 'main'
  }

  /** What echoes say of the pair, on the device that its traffic is on; undefined for not known. */
  echoFigures(node: NodeName): EchoFigures | undefined {
    return this.#hellos[this.laneOf(node)].echoFigures(node, performance.now())
  }

  /** Path MTUs, bytes, of peers whose path carries less than the tunnel's MTU. */
  get smallerPaths(): ReadonlyMap<NodeName, number> {
    return this.#paths.found
  }

  /** Bytes that are known to arrive at a peer in one packet; undefined for not known. */
  pathMtu(node: NodeName): number | undefined {
    return this.#paths.known(node)
  }

  /** Takes in an event. @returns what somebody else did, in words, where that is what it says */
  noteEvent(event: RouteEvent): string | undefined {
    return this.#kernel.noteEvent(event)
  }

  /**
   * Brings the kernel to what the input asks for, as far as peers have proven themselves.
   * @param now milliseconds, monotonic
   * @returns when the next pass is due, milliseconds
   * @throws what the kernel refused; the next pass starts from a fresh look
   */
  async pass(given: MeshInput, now: number): Promise<number> {
    this.#input = given
    await this.#observe(given, now)
    const input = this.#isUnused(given) ? { ...given, nodes: NOBODY } : given
    this.#lookAround(input)
    this.#noteStrayed(input)
    this.#paths.limit(input.pathMtuProbing ? input.config.mtu : undefined, now)
    if (!this.#states) {
      const adopted = await this.#inSlices(look => adoptInSlices(look, this.#memory, MOST), input, now)
      this.#adoptPaths(adopted, now)
      this.#states = adopted
    }
    let operations = 0
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const states: LaneStates = this.#states
      const plan: FamilyPlan = await this.#inSlices(look => planInSlices(states, look, this.#memory, MOST), input, now)
      await inSlices(logPairs(this.#log, this.family, plan.changed))
      this.#states = plan.lanes
      this.#plan = plan
      operations = await this.#kernel.reconcile(plan.desired)
      if (operations === 0) break
    }
    if (operations === 0) this.#disown(ownershipOf(this.family, input))
    this.#looks.noteStates(this.#states, this.#names, now)
    const speakAt: number[] = []
    for (const lane of LANES) speakAt.push(await this.#speak(lane, input, now))
    const onDevice = (node: NodeName, state: PeerState) => ({ lane: this.laneOf(node), peer: this.peer(node, state) })
    await this.#measured.look(this.#plan?.peers ?? NO_PAIRS, onDevice, this.#looks.wasReadAt(now), now)
    return Math.min(...speakAt, this.#looks.at)
  }

  /** Forgets what the kernel was seen to hold: the next pass looks again. */
  distrust(): void {
    this.#looks.distrust()
    this.#kernel.invalidate()
  }

  close(): void {
    for (const lane of LANES) this.#hellos[lane].close()
  }

  /** What is decided is of what is seen at the end: the kernel is read anew where what it said is no longer believed. */
  #inSlices<Result>(
    steps: (look: () => FamilyView) => Generator<undefined, Result>,
    input: MeshInput,
    now: number,
  ): Promise<Result> {
    return inSlices(
      steps(() => this.#view(input, now)),
      async () => {
        if (!this.#kernel.stale) return
        await this.#observe(input, now)
        this.#noteStrayed(input)
      },
    )
  }

  /** Encryption is off, nothing of ours is there, and this node has no part in the family: of the others nothing need be kept. */
  #isUnused({ enabled, nodes }: MeshInput): boolean {
    const own = nodes.get(this.#self)
    return !enabled && this.devices.length === 0 && own !== undefined && !hasFamily(own, this.family)
  }

  async #observe(input: MeshInput, now: number): Promise<void> {
    const wanted = ownershipOf(this.family, input)
    // What was ours under another name or in another table is so until it has been taken away.
    const ownership = this.#ownership ? bothOwned(this.#ownership, wanted) : wanted
    if (!this.#ownership || !sameOwnership(this.#ownership, ownership)) this.#kernel.invalidate()
    this.#ownership = ownership
    const { hostSource } = input
    const looked = await this.#looks.take(
      { ownership, names: this.#names, encryptsHosts: hostSource !== undefined },
      now,
    )
    if (looked === 'all')
      this.#pulse.note(hostSource === undefined ? [] : this.devices.flatMap(({ peers }) => [...peers.values()]), now)
  }

  #noteStrayed({ nodes }: MeshInput): void {
    this.#left.note(nodes, Date.now())
    for (const lane of LANES) {
      const name = this.#names[lane]
      const peers = name === undefined ? undefined : this.#kernel.peers(name)
      if (peers && this.#states) this.#looks.noteStrayed(lane, this.#left.sentTo(this.#states[lane], peers))
    }
  }

  /** What is somebody else's is found before anything of it could be touched. @throws Error with the remedy */
  #lookAround({ config, identities, nodes, links, enabled }: MeshInput): void {
    const { family } = this
    this.#rivals = enabled ? rivals({ family, config, rules: this.#kernel.otherRules }) : []
    if (this.#states || !enabled) return
    const { main } = identities
    const found = obstacle({
      ...{ family, config, links, routes: this.#kernel.otherRoutes, rules: this.#kernel.otherRules },
      own: nodes.get(this.#self),
      ownKey: main?.privateKey.publicKey(),
      deviceKey: main && this.#kernel.device(main.name)?.publicKey,
    })
    if (found === undefined) return
    this.#kernel.invalidate()
    throw new Error(found)
  }

  /** The kernel is as it should be: names and tables that nothing needs any more are anybody's. */
  #disown(needed: Ownership): void {
    if (!this.#ownership || sameOwnership(this.#ownership, needed)) return
    this.#ownership = needed
    this.#kernel.invalidate()
  }

  get #names(): Readonly<Record<Lane, string | undefined>> {
    const { main, spare } = this.#input?.identities ?? {}
    return { main: main?.name, spare: spare?.name }
  }

  #steered(lane: Lane): ReadonlySet<Cidr> {
    const name = this.#names[lane]
    const tables = this.#input?.config.tables
    return name === undefined || !tables ? NOTHING : this.#kernel.steered([tables.mesh, tables.nodes], name)
  }

  #steeredHosts(lane: Lane): ReadonlySet<Cidr> {
    const name = this.#names[lane]
    const table = this.#input?.config.tables.hosts
    return name === undefined || table === undefined ? NOTHING : this.#kernel.steered([table], name)
  }

  #view(input: MeshInput, now: number): FamilyView {
    const { identities, links: _, pathMtuProbing: __, hostSource, ...facts } = input
    const laneView = (lane: Lane): LaneView => {
      const identity = identities[lane]
      const device = identity && this.#kernel.device(identity.name)
      // One that listens elsewhere than it is said to cannot be reached; and nobody hears of a key to come before a device has it.
      const up =
        identity !== undefined &&
        this.#kernel.up(identity.name) &&
        device?.listenPort === identity.listenPort &&
        (lane === 'main' || device.publicKey === identity.privateKey.publicKey())
      const [steered, steeredHosts] = [this.#steered(lane), this.#steeredHosts(lane)]
      const kernel = { up, peers: device?.peers ?? NO_PEERS, steered, steeredHosts }
      return { identity, kernel, hellos: this.#hellos[lane].heard() }
    }
    return {
      ...facts,
      family: this.family,
      now,
      wallTime: Date.now(),
      left: this.#left.all,
      pathMtus: this.#paths.found,
      self: this.#self,
      hosts: hostSource && { source: hostSource, mute: this.#pulse.mute(now) },
      lanes: { main: laneView('main'), spare: laneView('spare') },
    }
  }

  async #speak(lane: Lane, input: MeshInput, now: number): Promise<number> {
    const plan = this.#plan
    const identity = input.identities[lane]
    if (!plan || !identity) return Number.POSITIVE_INFINITY
    const { name } = identity
    const device = plan.desired.devices.find(device => device.name === name)
    const [address] = device?.addresses ?? []
    const hellos = this.#hellos[lane]
    hellos.open(
      this.#kernel.up(name) && device && address
        ? { device: name, index: this.#kernel.index(name), address }
        : undefined,
    )
    const handshaken = (peer: PublicKey) => (this.#kernel.device(name)?.peers.get(peer)?.latestHandshake ?? 0n) > 0n
    const states = plan.lanes[lane]
    const view = this.#view(input, now)
    const contents = this.#toSpeakTo(lane, view, states).map((node): [NodeName, HelloContent | undefined] => [
      node,
      helloOf(view, lane, states.get(node)),
    ])
    return await inSlices(hellos.speak(contents, states, identity.privateKey.publicKey(), handshaken, now))
  }

  /** Those to whom there may be something else to say than the last time. */
  *#toSpeakTo(lane: Lane, view: FamilyView, states: PeerStates): Generator<NodeName> {
    const changed = this.#said[lane].take(states, view.lanes[lane].kernel)
    const found = new Set<NodeName>()
    const all = changed
      ? [changed.nodes, this.#memory.concerned(changed.keys)]
      : [states.keys(), this.#hellos[lane].partners()]
    for (const names of all)
      for (const name of names) {
        if (!found.has(name)) yield name
        found.add(name)
      }
  }

  /** An agent that is started again leaves the routes as they are, until it knows better. */
  #adoptPaths(states: LaneStates, now: number): void {
    const found = LANES.flatMap(lane => {
      const name = this.#names[lane]
      const peers = name === undefined ? undefined : this.#kernel.peers(name)
      return name === undefined || !peers ? [] : [...routedPaths(states[lane], peers, this.#kernel.routeMtus(name))]
    })
    this.#paths.adopt(new Map(found), now)
  }
}

/** Always the same, so that nobody looks at it twice. */
const NO_PEERS: ReadonlyMap<PublicKey, PeerStatus> = new Table()
const NO_PAIRS: PeerStates = new Table()
const NOBODY: MeshInput['nodes'] = new Table()
const NOTHING: ReadonlySet<Cidr> = new Set()
