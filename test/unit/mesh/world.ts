import type { PublicKey } from '#keys/public-key.ts'
import type { HelloMessage } from '#src/hello/message.ts'
import { adoptPeers } from '#src/mesh/adopt.ts'
import { podCidrSource } from '#src/mesh/claims.ts'
import type { FamilyView, LaneView } from '#src/mesh/family-view.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import { LANES, type Lane, type NodeName, type NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerState } from '#src/mesh/peer-machine.ts'
import { hellosOf, planFamily } from '#src/mesh/plan.ts'
import { untouchedPeer } from '#wg/device/device.ts'
import { type Cidr, hostCidr, type IpAddress } from '#wg/ip.ts'
import type { DesiredDevice } from '#wg/reconcile/desired.ts'
import { diffPeers } from '#wg/reconcile/peers.ts'
import { Talk } from './talk.ts'
import { CONFIG, PORT, type Said, WorldDevice, WorldNode } from './world-node.ts'

export { CONFIG, WorldNode } from './world-node.ts'

export interface Letter {
  readonly from: NodeName
  readonly lane: Lane
  /** The sender's key at that time. */
  readonly as: PublicKey
  readonly to: IpAddress
  /** The receiver's key and port, as the sender knew them. */
  readonly key: PublicKey
  readonly port: number
  readonly message: HelloMessage
}

/** What a breach of the promise looks like. */
export class Loss extends Error {}

/**
 * What a rival does: steers to whoever has a key `on sight`, or changes a device that is in use `at once`, or is `deaf` to a
 * peer that says it stops and waits to read so in its Node.
 */
export type Carelessness = 'on sight' | 'at once' | 'deaf'

/** The agent dies here. */
class Crash extends Error {}

/** Some nodes, an API server that shows changes late, and a network that delays and loses hellos. */
export class World {
  readonly nodes: WorldNode[]
  readonly api = new Map<NodeName, NodeRecord>()
  /** What a node has asked the API server to say of it, not yet there. */
  readonly patches = new Map<NodeName, Said>()
  letters: Letter[] = []
  now = 1_000
  readonly #careless: boolean
  /** Changes main devices without waiting for anybody. */
  readonly #hasty: boolean
  /** Takes a peer's word that it stops for an old one. */
  readonly #deaf: boolean
  readonly #carelessness: Carelessness | undefined
  #session = 1n
  /** Writes to a kernel that are still made before an agent dies. */
  #writesLeft = Number.POSITIVE_INFINITY

  constructor(count: number, carelessness?: Carelessness) {
    this.#careless = carelessness === 'on sight'
    this.#hasty = carelessness === 'at once'
    this.#deaf = carelessness === 'deaf'
    this.#carelessness = carelessness
    this.nodes = Array.from({ length: count }, (_, i) => new WorldNode(i + 1))
    for (const node of this.nodes) this.api.set(node.name, node.record(SILENT))
    for (const node of this.nodes) for (const [name, record] of this.api) node.seen.set(name, record)
  }

  clone(): World {
    const copy = new World(0, this.#carelessness)
    copy.nodes.push(...this.nodes.map(node => node.clone()))
    for (const [name, record] of this.api) copy.api.set(name, record)
    for (const [name, said] of this.patches) copy.patches.set(name, said)
    copy.letters = [...this.letters]
    copy.now = this.now
    copy.#session = this.#session
    return copy
  }

  /** A pass in the midst of which the agent dies, with so many writes made, and comes back. */
  crash(node: WorldNode, writes: number): void {
    this.#writesLeft = writes
    try {
      this.pass(node)
    } catch (error) {
      if (!(error instanceof Crash)) throw error
    } finally {
      this.#writesLeft = Number.POSITIVE_INFINITY
    }
    this.restart(node)
  }

  /** Devices that have each other's key as a peer shake hands, as a keepalive makes them. */
  handshake(one: WorldNode, other: WorldNode): void {
    for (const lane of LANES) this.#handshake(one, other, lane)
  }

  #handshake(one: WorldNode, other: WorldNode, lane: Lane): void {
    const [here, there] = [one.devices[lane], other.devices[lane]]
    if (!here.up || !there.up || !here.key || !there.key) return
    const [mine, theirs] = [here.peers.get(there.key.publicKey()), there.peers.get(here.key.publicKey())]
    if (!mine || !theirs) return
    const [now, then] = [this.clock(one), this.clock(other)]
    // Whoever knows the other's port begins, unless its clock says that it is earlier than it was.
    if (mine.endpoint?.port === there.port && now >= (there.begunAt.get(theirs.publicKey) ?? 0))
      there.begunAt.set(theirs.publicKey, now)
    else if (theirs.endpoint?.port === here.port && then >= (here.begunAt.get(mine.publicKey) ?? 0))
      here.begunAt.set(mine.publicKey, then)
    else return
    here.peers.set(mine.publicKey, { ...mine, latestHandshake: BigInt(now) * MS, endpoint: endpointOf(other, there) })
    there.peers.set(theirs.publicKey, {
      ...theirs,
      latestHandshake: BigInt(then) * MS,
      endpoint: endpointOf(one, here),
    })
  }

  /** What a node's clock says, Unix milliseconds. */
  clock(node: WorldNode): number {
    return EPOCH + this.now - node.clockBehind
  }

  /** A node loses its disk and its kernel, and starts anew. */
  loseKey(node: WorldNode): void {
    node.loseKey()
    this.restart(node)
  }

  /** Somebody else writes a key to a Node. */
  forge(node: WorldNode, publicKey: PublicKey): void {
    const record = this.api.get(node.name)
    const main = record?.announced[4]
    if (main) this.api.set(node.name, node.record({ main: { ...main, publicKey }, spare: record?.spare[4] }))
  }

  /** Its Node is deleted, or made anew if it was, by its kubelet: another one, that says nothing of WireGuard. */
  deleteOrRemake(node: WorldNode): void {
    if (this.api.has(node.name)) this.api.delete(node.name)
    else this.api.set(node.name, node.record(SILENT))
  }

  /** A prefix without pods is given to this node, if no other has it, or taken from it. */
  giveOrTakeRoaming(node: WorldNode): void {
    if (this.nodes.some(other => other !== node && other.hasRoaming)) return
    node.hasRoaming = !node.hasRoaming
    const record = this.api.get(node.name)
    if (record) this.api.set(node.name, node.record({ main: record.announced[4], spare: record.spare[4] }))
  }

  /** One pass of a node's agent, its writes in the order in which the reconciler makes them. */
  pass(node: WorldNode): void {
    const { keyChanges } = node
    node.states ??= adoptPeers(this.#view(node))
    if (this.#careless)
      node.states = {
        ...node.states,
        main: new Map([...node.states.main].map(([name, state]) => [name, believe(state)])),
      }
    const plan = planFamily(node.states, this.#view(node))
    node.states = plan.lanes
    node.plan = plan
    const desired = (lane: Lane) => plan.desired.devices.find(({ name }) => name === node.identity(lane).name)
    const removals = LANES.map(lane => this.#configureDevice(node, lane, desired(lane)))
    const steered = new Map<Cidr, Lane>()
    for (const route of plan.desired.routes.values())
      if (route.type === 'unicast' && route.table <= CONFIG.tables.nodes)
        steered.set(route.destination, route.device === CONFIG.interfaceName ? 'main' : 'spare')
    for (const [cidr, lane] of steered)
      if (node.routes.get(cidr) !== lane) this.#write(() => node.routes.set(cidr, lane))
    for (const cidr of [...node.routes.keys()]) if (!steered.has(cidr)) this.#write(() => node.routes.delete(cidr))
    for (const remove of removals) remove()
    const said: Said = { main: plan.announce, spare: plan.announceSpare }
    const record = this.api.get(node.name)
    if (JSON.stringify(said) !== JSON.stringify({ main: record?.announced[4], spare: record?.spare[4] }))
      this.patches.set(node.name, said)
    this.#speak(node)
    const { move, waitsFor } = plan.moving
    if (move === 'away' && (waitsFor.length === 0 || this.#hasty)) node.change(keyChanges)
  }

  /** @returns what is left to be done once nothing is steered to it any more */
  #configureDevice(node: WorldNode, lane: Lane, desired: DesiredDevice | undefined): () => void {
    const device = node.devices[lane]
    if (!desired)
      return () => {
        if (device.up) this.#write(() => (node.devices[lane] = new WorldDevice()))
      }
    device.up = true
    if (device.key !== desired.privateKey)
      this.#write(() => {
        if (device.key) device.formerKeys.add(device.key.publicKey())
        device.key = desired.privateKey
      })
    if (device.port !== desired.listenPort) this.#write(() => (device.port = desired.listenPort))
    const { additions, removals } = diffPeers(desired.peers, device.peers, device.written)
    for (const change of additions) this.#configure(device, change)
    return () => {
      for (const change of removals) this.#configure(device, change)
    }
  }

  /** The API server takes what the node said of itself. */
  publish(node: WorldNode): void {
    const said = this.patches.get(node.name)
    if (!said || !this.api.has(node.name)) return
    this.api.set(node.name, node.record(said))
    this.patches.delete(node.name)
  }

  /** The node's watch catches up on another node. */
  watch(node: WorldNode, about: WorldNode): void {
    const record = this.api.get(about.name)
    if (record) node.seen.set(about.name, record)
    else node.seen.delete(about.name)
  }

  /** The agent dies and comes back: the kernel stays, its memory goes, and it reads everything anew. */
  restart(node: WorldNode): void {
    node.states = undefined
    node.conversations = { main: new Map(), spare: new Map() }
    this.patches.delete(node.name)
    for (const { name } of this.nodes) node.seen.delete(name)
    for (const [name, record] of this.api) node.seen.set(name, record)
  }

  /** The network delivers one hello, where the tunnel lets it through. */
  deliver(index: number): void {
    const letter = this.letters[index]
    if (!letter) return
    this.letters.splice(index, 1)
    const receiver = this.nodes.find(({ deviceAddress }) => deviceAddress === letter.to)
    const sender = this.nodes.find(node => node.name === letter.from)
    const { lane } = letter
    const device = receiver?.devices[lane]
    if (!sender || !receiver || !device?.up || device.port !== letter.port) return
    if (device.key?.publicKey() !== letter.key && !device.formerKeys.has(letter.key)) return
    const tunnel = device.peers.get(letter.as)
    if (!tunnel?.allowedIps.has(hostCidr(sender.deviceAddress))) return
    if (tunnel.latestHandshake === 0n) this.#handshake(receiver, sender, lane)
    const state = receiver.states?.[lane].get(sender.name)
    if (state && state.phase !== 'absent' && state.helloAddress === sender.deviceAddress)
      receiver.conversations[lane].get(sender.name)?.hear(letter.message, state.key, this.now)
  }

  /**
   * Longer than a session lives, and no pod sends anything. Agents live, so their hellos arrive sooner or later; the API
   * server need not show anything to anybody all that time. Not where a port has been changed: who is dialled where nobody
   * listens is named in docs/limits.md.
   */
  quiet(): void {
    if (this.nodes.some(({ port, nextPort }) => port !== PORT || nextPort !== PORT)) return
    for (const gap of QUIET) {
      for (const node of this.nodes) this.pass(node)
      while (this.letters.length > 0) this.deliver(0)
      this.now += gap
    }
  }

  /** Until nothing changes any more, with a network that delivers everything. */
  settle(rounds = 40): void {
    for (const node of this.nodes) if (!this.api.has(node.name)) this.deleteOrRemake(node)
    for (let i = 0; i < rounds; i++) {
      for (const node of this.nodes) this.pass(node)
      for (const node of this.nodes) this.publish(node)
      for (const node of this.nodes) for (const other of this.nodes) this.watch(node, other)
      // A key that waits for its handshake is sent keepalives.
      for (const node of this.nodes) for (const other of this.nodes) if (node !== other) this.handshake(node, other)
      while (this.letters.length > 0) this.deliver(0)
      this.now += 1_000
    }
  }

  /** Whether traffic from one pod to the other is steered into the tunnel. */
  steers(from: WorldNode, to: WorldNode): boolean {
    return from.routes.has(to.podCidr)
  }

  /** @throws Loss when somebody steers to a node that does not accept */
  check(): void {
    for (const from of this.nodes) {
      for (const to of this.nodes) {
        if (from === to || !this.steers(from, to)) continue
        const lane = from.routes.get(to.podCidr) ?? 'main'
        const sender = from.devices[lane]
        const peer = [...sender.peers.values()].find(({ allowedIps }) => allowedIps.has(to.podCidr))
        const held = peer?.publicKey
        const arrives = peer && laneAt(to, peer.publicKey, peer.endpoint?.port ?? 0)
        const accepting = arrives && sender.key && to.devices[arrives].peers.get(sender.key.publicKey())
        const accepts = accepting?.allowedIps.has(from.podCidr)
        if (accepts) to.acceptedSince.add(from.name)
        // The design names one state that loses: a node that lost its key gets nothing from those that steer to it until the
        // new key has completed a handshake, and it accepts from them again. Silence is never answered with clear text.
        if (to.lostKeys.size > 0 && (!to.acceptedSince.has(from.name) || (held && to.lostKeys.has(held)))) continue
        if (!held) throw new Loss(`${from.name} steers to ${to.name} without a peer that takes it`)
        if (!accepts) throw new Loss(`${from.name} steers to ${to.name} by its ${lane} device, which does not accept`)
      }
    }
  }

  #configure(device: WorldDevice, change: ReturnType<typeof diffPeers>['additions'][number]): void {
    this.#write(() => {
      if (change.kind === 'remove') {
        device.peers.delete(change.publicKey)
        device.written.delete(change.publicKey)
        device.begunAt.delete(change.publicKey)
        return
      }
      const { publicKey, addAllowedIps = [], removeAllowedIps = [] } = change
      for (const [key, peer] of device.peers)
        if (key !== publicKey)
          device.peers.set(key, {
            ...peer,
            allowedIps: new Set([...peer.allowedIps].filter(ip => !addAllowedIps.includes(ip))),
          })
      const peer = device.peers.get(publicKey) ?? untouchedPeer(publicKey)
      const allowedIps = new Set([...peer.allowedIps, ...addAllowedIps].filter(ip => !removeAllowedIps.includes(ip)))
      device.peers.set(publicKey, { ...peer, allowedIps, endpoint: change.endpoint ?? peer.endpoint })
      if (change.endpoint) device.written.set(publicKey, change.endpoint)
    })
  }

  #write(change: () => void): void {
    if (this.#writesLeft-- <= 0) throw new Crash()
    change()
    this.check()
  }

  #view(node: WorldNode): FamilyView {
    const laneView = (lane: Lane): LaneView => {
      const hellos = new Map<NodeName, HeardHello>()
      for (const [name, { heard }] of node.conversations[lane])
        if (heard) hellos.set(name, this.#deaf && heard.accepts === undefined ? { ...heard, at: LONG_SINCE } : heard)
      const { up, peers } = node.devices[lane]
      const steered = new Set([...node.routes].filter(([, by]) => by === lane).map(([cidr]) => cidr))
      return { identity: node.identity(lane), kernel: { up, peers, steered }, hellos }
    }
    return {
      family: 4,
      now: this.now,
      wallTime: this.clock(node),
      self: node.name,
      nodes: node.seen,
      natExceptions: [],
      left: new Map(),
      pinsEndpoints: false,
      pathMtus: new Map(),
      routeSync: true,
      cidrSource: podCidrSource,
      enabled: node.enabled,
      config: { ...CONFIG, listenPort: node.nextPort },
      lanes: { main: laneView('main'), spare: laneView('spare') },
      mainChanges: node.mainChanges,
    }
  }

  /** What is said is read off the kernel as it is after the writes, as the agent does. */
  #speak(node: WorldNode): void {
    for (const lane of LANES) this.#speakThrough(node, lane)
  }

  #speakThrough(node: WorldNode, lane: Lane): void {
    const states = node.states?.[lane] ?? new Map<NodeName, PeerState>()
    const conversations = node.conversations[lane]
    const device = node.devices[lane]
    const hellos = hellosOf(this.#view(node), lane, states)
    for (const name of [...conversations.keys()]) if (!hellos.has(name)) conversations.delete(name)
    for (const [name, content] of hellos) {
      const state = states.get(name)
      if (!state || state.phase === 'absent' || state.helloAddress === undefined) continue
      const conversation = conversations.get(name) ?? new Talk(this.#session++)
      conversations.set(name, conversation)
      conversation.say(content, this.now, state.phase === 'accepting' ? state.since : undefined)
      const message = conversation.nextAt <= this.now ? conversation.take(this.now) : undefined
      const port = device.peers.get(state.key)?.endpoint?.port ?? 0
      if (message && device.key)
        this.letters.push({
          ...{ from: node.name, lane, as: device.key.publicKey(), to: state.helloAddress },
          ...{ key: state.key, port, message },
        })
    }
  }
}

/** Nanoseconds of a millisecond, as the kernel counts. */
const MS = 1_000_000n
/** Milliseconds from look to look: what is said is heard and stands, and then nothing is for longer than a session lives. */
const QUIET = [1_000, 5_000, 5_000, 5_000, 5_000, 190_000, 5_000, 5_000]
/** Before all that happens. */
const LONG_SINCE = 0
/** When the model begins, Unix milliseconds. */
const EPOCH = 1_700_000_000_000

const SILENT: Said = { main: undefined, spare: undefined }

/** The device of a node that something sent to this key and port arrives at. */
const laneAt = (node: WorldNode, key: PublicKey, port: number): Lane | undefined =>
  LANES.find(lane => {
    const device = node.devices[lane]
    return device.up && device.port === port && device.key?.publicKey() === key
  })

const endpointOf = ({ address }: WorldNode, { port }: WorldDevice) => ({ address, port })

const believe = (state: PeerState): PeerState =>
  state.phase === 'accepting' ? { ...phaseless(state), phase: 'encrypting', reason: 'on sight of its key' } : state

const phaseless = ({ since, key, candidate, helloAddress }: Extract<PeerState, { phase: 'accepting' }>) => ({
  ...{ since, key, candidate, helloAddress },
})
