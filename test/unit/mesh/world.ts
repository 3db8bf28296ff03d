import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import { Conversation } from '#src/hello/conversation.ts'
import type { HelloMessage } from '#src/hello/message.ts'
import { adoptPeers } from '#src/mesh/adopt.ts'
import { podCidrSource } from '#src/mesh/claims.ts'
import type { FamilyConfig, FamilyView } from '#src/mesh/family-view.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import type { Announcement, NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import { type FamilyPlan, hellosOf, planFamily } from '#src/mesh/plan.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { type Cidr, type IpAddress, nthAddress, parseAddress, parseCidr } from '#wg/ip.ts'
import { diffPeers } from '#wg/reconcile/peers.ts'

/** Keys in the order of their text, so that a test knows who speaks first. */
const KEYS = [1, 2, 3, 4, 5, 6].map(fill => PrivateKey.fromBytes(new Uint8Array(32).fill(fill * 16)))

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

interface Letter {
  readonly from: WorldNode
  readonly to: IpAddress
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
  conversations = new Map<NodeName, Conversation>()

  constructor(index: number) {
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

  record(announced: Announcement | undefined): NodeRecord {
    return {
      name: this.name,
      uid: this.name,
      createdAt: 0,
      addresses: [this.address],
      podCidrs: [this.podCidr],
      announced: { 4: announced, 6: undefined },
      faults: [],
    }
  }
}

/** What a breach of the promise looks like. */
export class Loss extends Error {}

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

  /** @param careless steers on sight of a key, without proof */
  constructor(count: number, careless = false) {
    this.#careless = careless
    this.nodes = Array.from({ length: count }, (_, i) => new WorldNode(i + 1))
    for (const node of this.nodes) this.api.set(node.name, node.record(undefined))
    for (const node of this.nodes) for (const [name, record] of this.api) node.seen.set(name, record)
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
    const sender = letter.from
    const tunnel = receiver?.peers.get(sender.key.publicKey())
    if (!receiver?.up || !tunnel?.allowedIps.has(`${sender.deviceAddress}/32` as Cidr)) return
    for (const [one, other] of [
      [receiver, sender],
      [sender, receiver],
    ] as const) {
      const peer = one.peers.get(other.key.publicKey())
      if (peer && peer.latestHandshake === 0n)
        one.peers.set(peer.publicKey, { ...peer, latestHandshake: BigInt(this.now) })
    }
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
        const accepts = to.up && to.peers.get(from.key.publicKey())?.allowedIps.has(from.podCidr)
        const sends = from.peers.get(to.key.publicKey())?.allowedIps.has(to.podCidr)
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
      const conversation = node.conversations.get(name) ?? new Conversation(this.#session++)
      node.conversations.set(name, conversation)
      conversation.say(content, this.now)
      const message = conversation.nextAt <= this.now ? conversation.take(this.now) : undefined
      if (message) this.letters.push({ from: node, to: state.helloAddress, key: state.key, message })
    }
  }
}

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
