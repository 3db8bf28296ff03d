import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { HelloMessage } from '#src/hello/message.ts'
import { adoptPeers } from '#src/mesh/adopt.ts'
import { podCidrSource } from '#src/mesh/claims.ts'
import type { FamilyConfig, FamilyView } from '#src/mesh/family-view.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import type { Announcement, NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import { type FamilyPlan, hellosOf, planFamily } from '#src/mesh/plan.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { type Cidr, type Endpoint, hostCidr, type IpAddress, nthAddress, parseAddress, parseCidr } from '#wg/ip.ts'
import { diffPeers } from '#wg/reconcile/peers.ts'
import { Talk } from './talk.ts'

/** One for each node, then those that they take when they have lost theirs. */
const KEYS = [1, 2, 3, 4, 5, 6, 7, 8].map(fill => PrivateKey.fromBytes(new Uint8Array(32).fill(fill * 16)))
const SPARE = 4

export const CONFIG: FamilyConfig = {
  interfaceName: 'wireguard.cali',
  listenPort: 51820,
  mtu: 1440,
  persistentKeepalive: 0,
  rulePriority: 99,
  mark: 0x200000,
  tables: { mesh: 1, nodes: 2, device: 3 },
  routeProtocol: 3,
}

export interface Letter {
  readonly from: NodeName
  /** The sender's key at that time. */
  readonly as: PublicKey
  readonly to: IpAddress
  /** The receiver's key, as the sender knew it. */
  readonly key: PublicKey
  readonly message: HelloMessage
}

/** One node of the model: the real planner and the real conversations over a kernel made of maps. */
export class WorldNode {
  readonly name: NodeName
  readonly podCidr: Cidr
  readonly address: IpAddress
  key: PrivateKey
  enabled = false
  /** What this node's watch has shown it, which may be old. */
  readonly seen = new Map<NodeName, NodeRecord>()
  readonly peers = new Map<PublicKey, PeerStatus>()
  readonly routes = new Set<Cidr>()
  up = false
  states: PeerStates | undefined
  plan: FamilyPlan | undefined
  conversations = new Map<NodeName, Talk>()
  /** Keys that it had and lost. */
  readonly lostKeys = new Set<PublicKey>()
  /** Who it has accepted from since it lost a key. */
  readonly acceptedSince = new Set<NodeName>()
  readonly #index: number

  constructor(index: number) {
    this.#index = index
    this.name = `node-${index}` as NodeName
    this.podCidr = parseCidr(`10.244.${index}.0/24`)
    this.address = parseAddress(`10.200.0.${index}`)
    const key = KEYS[index]
    if (!key) throw new RangeError(`no key for node ${index}`)
    this.key = key
  }

  get deviceAddress(): IpAddress {
    return nthAddress(this.podCidr, 1) ?? this.address
  }

  /** The machine comes back without its disk: nothing in its kernel, and another key. */
  loseKey(): void {
    const spare = KEYS[this.#index + SPARE]
    if (!spare) throw new RangeError('no spare key')
    this.lostKeys.add(this.key.publicKey())
    this.acceptedSince.clear()
    this.key = spare
    this.peers.clear()
    this.routes.clear()
    this.up = false
    this.states = undefined
    this.plan = undefined
    this.conversations = new Map()
  }

  clone(): WorldNode {
    const copy = new WorldNode(this.#index)
    copy.key = this.key
    copy.enabled = this.enabled
    for (const [name, record] of this.seen) copy.seen.set(name, record)
    for (const [key, peer] of this.peers) copy.peers.set(key, peer)
    for (const cidr of this.routes) copy.routes.add(cidr)
    for (const key of this.lostKeys) copy.lostKeys.add(key)
    for (const name of this.acceptedSince) copy.acceptedSince.add(name)
    copy.up = this.up
    copy.states = this.states
    copy.plan = this.plan
    copy.conversations = new Map([...this.conversations].map(([name, talk]) => [name, talk.clone()]))
    return copy
  }

  record(announced: Announcement | undefined): NodeRecord {
    return {
      name: this.name,
      uid: this.name,
      createdAt: 0,
      addresses: [this.address],
      podCidrs: [this.podCidr],
      tunnels: [],
      announced: { 4: announced, 6: undefined },
      faults: [],
    }
  }
}

/** What a breach of the promise looks like. */
export class Loss extends Error {}

/** The agent dies here. */
class Crash extends Error {}

/** Some nodes, an API server that shows changes late, and a network that delays and loses hellos. */
export class World {
  readonly nodes: WorldNode[]
  readonly api = new Map<NodeName, NodeRecord>()
  /** What a node has asked the API server to say of it, not yet there. */
  readonly patches = new Map<NodeName, Announcement | undefined>()
  letters: Letter[] = []
  now = 1_000
  readonly #careless: boolean
  #session = 1n
  /** Writes to a kernel that are still made before an agent dies. */
  #writesLeft = Number.POSITIVE_INFINITY

  /** @param careless steers on sight of a key, without proof */
  constructor(count: number, careless = false) {
    this.#careless = careless
    this.nodes = Array.from({ length: count }, (_, i) => new WorldNode(i + 1))
    for (const node of this.nodes) this.api.set(node.name, node.record(undefined))
    for (const node of this.nodes) for (const [name, record] of this.api) node.seen.set(name, record)
  }

  clone(): World {
    const copy = new World(0, this.#careless)
    copy.nodes.push(...this.nodes.map(node => node.clone()))
    for (const [name, record] of this.api) copy.api.set(name, record)
    for (const [name, announced] of this.patches) copy.patches.set(name, announced)
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

  /** Two devices that have each other's key as a peer shake hands, as a keepalive makes them. */
  handshake(one: WorldNode, other: WorldNode): void {
    const [mine, theirs] = [one.peers.get(other.key.publicKey()), other.peers.get(one.key.publicKey())]
    if (!one.up || !other.up || !mine || !theirs) return
    one.peers.set(mine.publicKey, { ...mine, latestHandshake: BigInt(this.now), endpoint: endpointOf(other) })
    other.peers.set(theirs.publicKey, { ...theirs, latestHandshake: BigInt(this.now), endpoint: endpointOf(one) })
  }

  /** A node loses its disk and its kernel, and starts anew. */
  loseKey(node: WorldNode): void {
    node.loseKey()
    this.restart(node)
  }

  /** Somebody else writes a key to a Node. */
  forge(node: WorldNode, publicKey: PublicKey): void {
    const announced = this.api.get(node.name)?.announced[4]
    if (announced) this.api.set(node.name, node.record({ ...announced, publicKey }))
  }

  /** One pass of a node's agent, its writes in the order in which the reconciler makes them. */
  pass(node: WorldNode): void {
    node.states ??= adoptPeers(this.#view(node))
    if (this.#careless) node.states = new Map([...node.states].map(([name, state]) => [name, believe(state)]))
    const plan = planFamily(node.states, this.#view(node))
    node.states = plan.peers
    node.plan = plan
    const { additions, removals } = diffPeers(plan.desired.peers, node.peers, new Map())
    node.up = plan.desired.device !== undefined
    for (const change of additions) this.#configure(node, change)
    const steered = new Set(
      plan.desired.routes.filter(r => r.type === 'unicast' && r.table !== 3).map(r => r.destination),
    )
    for (const cidr of steered) if (!node.routes.has(cidr)) this.#write(() => node.routes.add(cidr))
    for (const cidr of [...node.routes]) if (!steered.has(cidr)) this.#write(() => node.routes.delete(cidr))
    for (const change of removals) this.#configure(node, change)
    if (JSON.stringify(plan.announce) !== JSON.stringify(this.api.get(node.name)?.announced[4]))
      this.patches.set(node.name, plan.announce)
    this.#speak(node)
  }

  /** The API server takes what the node said of itself. */
  publish(node: WorldNode): void {
    if (!this.patches.has(node.name)) return
    this.api.set(node.name, node.record(this.patches.get(node.name)))
    this.patches.delete(node.name)
  }

  /** The node's watch catches up on another node. */
  watch(node: WorldNode, about: WorldNode): void {
    const record = this.api.get(about.name)
    if (record) node.seen.set(about.name, record)
  }

  /** The agent dies and comes back: the kernel stays, its memory goes, and it reads everything anew. */
  restart(node: WorldNode): void {
    node.states = undefined
    node.conversations = new Map()
    this.patches.delete(node.name)
    for (const [name, record] of this.api) node.seen.set(name, record)
  }

  /** The network delivers one hello, where the tunnel lets it through. */
  deliver(index: number): void {
    const letter = this.letters[index]
    if (!letter) return
    this.letters.splice(index, 1)
    const receiver = this.nodes.find(node => node.deviceAddress === letter.to && node.key.publicKey() === letter.key)
    const sender = this.nodes.find(node => node.name === letter.from)
    const tunnel = receiver?.peers.get(letter.as)
    if (!sender || !receiver?.up || !tunnel?.allowedIps.has(hostCidr(sender.deviceAddress))) return
    if (tunnel.latestHandshake === 0n) this.handshake(receiver, sender)
    const state = receiver.states?.get(sender.name)
    if (state && state.phase !== 'absent' && state.helloAddress === sender.deviceAddress)
      receiver.conversations.get(sender.name)?.hear(letter.message, state.key, this.now)
  }

  /** Until nothing changes any more, with a network that delivers everything. */
  settle(rounds = 40): void {
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
        const held = [...from.peers.values()].find(({ allowedIps }) => allowedIps.has(to.podCidr))?.publicKey
        const accepts = to.up && to.peers.get(from.key.publicKey())?.allowedIps.has(from.podCidr)
        if (accepts) to.acceptedSince.add(from.name)
        // The design names one state that loses: a node that lost its key gets nothing from those that steer to it until the
        // new key has completed a handshake, and it accepts from them again. Silence is never answered with clear text.
        if (to.lostKeys.size > 0 && (!to.acceptedSince.has(from.name) || (held && to.lostKeys.has(held)))) continue
        const sends = held === to.key.publicKey()
        if (!accepts) throw new Loss(`${from.name} steers to ${to.name}, which does not accept`)
        if (!sends) throw new Loss(`${from.name} steers to ${to.name} without a peer that takes it`)
      }
    }
  }

  #configure(node: WorldNode, change: ReturnType<typeof diffPeers>['additions'][number]): void {
    this.#write(() => {
      if (change.kind === 'remove') {
        node.peers.delete(change.publicKey)
        return
      }
      const { publicKey, addAllowedIps = [], removeAllowedIps = [] } = change
      for (const [key, peer] of node.peers)
        if (key !== publicKey)
          node.peers.set(key, {
            ...peer,
            allowedIps: new Set([...peer.allowedIps].filter(ip => !addAllowedIps.includes(ip))),
          })
      const peer = node.peers.get(publicKey) ?? newPeer(publicKey)
      const allowedIps = new Set([...peer.allowedIps, ...addAllowedIps].filter(ip => !removeAllowedIps.includes(ip)))
      node.peers.set(publicKey, { ...peer, allowedIps, endpoint: change.endpoint ?? peer.endpoint })
    })
  }

  #write(change: () => void): void {
    if (this.#writesLeft-- <= 0) throw new Crash()
    change()
    this.check()
  }

  #view(node: WorldNode): FamilyView {
    const hellos = new Map<NodeName, HeardHello>()
    for (const [name, { heard }] of node.conversations) if (heard) hellos.set(name, heard)
    return {
      family: 4,
      now: this.now,
      self: node.name,
      nodes: node.seen,
      natExceptions: [],
      routeSync: true,
      cidrSource: podCidrSource,
      enabled: node.enabled,
      config: CONFIG,
      key: node.key,
      kernel: { up: node.up, peers: node.peers, steered: node.routes },
      hellos,
    }
  }

  /** What is said is read off the kernel as it is after the writes, as the agent does. */
  #speak(node: WorldNode): void {
    const hellos = hellosOf(this.#view(node), node.states ?? new Map())
    for (const name of [...node.conversations.keys()]) if (!hellos.has(name)) node.conversations.delete(name)
    for (const [name, content] of hellos) {
      const state = node.states?.get(name)
      if (!state || state.phase === 'absent' || state.helloAddress === undefined) continue
      const conversation = node.conversations.get(name) ?? new Talk(this.#session++)
      node.conversations.set(name, conversation)
      conversation.say(content, this.now)
      const message = conversation.nextAt <= this.now ? conversation.take(this.now) : undefined
      if (message)
        this.letters.push({
          from: node.name,
          as: node.key.publicKey(),
          to: state.helloAddress,
          key: state.key,
          message,
        })
    }
  }
}

const endpointOf = ({ address }: WorldNode): Endpoint => ({ address, port: CONFIG.listenPort })

const believe = (state: PeerState): PeerState =>
  state.phase === 'accepting' ? { ...state, phase: 'encrypting', reason: 'on sight of its key' } : state

const newPeer = (publicKey: PublicKey): PeerStatus => ({
  publicKey,
  endpoint: undefined,
  allowedIps: new Set(),
  persistentKeepalive: 0,
  latestHandshake: 0n,
  rxBytes: 0n,
  txBytes: 0n,
})
