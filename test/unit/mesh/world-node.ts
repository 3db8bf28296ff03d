import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import type { FamilyConfig } from '#src/mesh/family-view.ts'
import type { LaneStates } from '#src/mesh/lanes.ts'
import { SPARE_DEVICES } from '#src/mesh/marks.ts'
import { isProven, othersMove } from '#src/mesh/move.ts'
import {
  type Announcement,
  LANES,
  type Lane,
  type NodeName,
  type NodeRecord,
  type SpareAnnouncement,
} from '#src/mesh/node-record.ts'
import type { FamilyPlan } from '#src/mesh/plan.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { type Cidr, type Endpoint, type IpAddress, nthAddress, parseAddress, parseCidr } from '#wg/ip.ts'
import type { Talk } from './talk.ts'

/** One for each node, then those that they take when they have lost theirs, then those that they rotate to. */
const KEYS = Array.from({ length: 24 }, (_, i) => PrivateKey.fromBytes(new Uint8Array(32).fill((i + 1) * 10)))
const AFTER_LOSS = 4
const AFTER_ROTATION = 8
const ROTATIONS = 4

/** The port of the main device, the one that it may be changed to, and that of the spare device. */
export const PORT = 51820
const OTHER_PORT = 51920
const SPARE_PORT = 51822

const ROAMING = parseCidr('10.244.99.0/24')

export const CONFIG: FamilyConfig = {
  interfaceName: 'wireguard.cali',
  listenPort: PORT,
  mtu: 1440,
  persistentKeepalive: 0,
  rulePriority: 99,
  mark: 0x200000,
  tables: { mesh: 1, nodes: 2, device: 3, spare: 4 },
  routeProtocol: 3,
}

/** A device made of maps. */
export class WorldDevice {
  up = false
  key: PrivateKey | undefined
  port = 0
  /** Sessions outlive the key that they were made with. */
  readonly formerKeys = new Set<PublicKey>()
  readonly peers = new Map<PublicKey, PeerStatus>()
  readonly written = new Map<PublicKey, Endpoint>()
  /** The latest time that each peer has begun a handshake at, by its own clock: an earlier one is taken for a replay. */
  readonly begunAt = new Map<PublicKey, number>()

  clone(): WorldDevice {
    const copy = new WorldDevice()
    copy.up = this.up
    copy.key = this.key
    copy.port = this.port
    for (const key of this.formerKeys) copy.formerKeys.add(key)
    for (const [key, peer] of this.peers) copy.peers.set(key, peer)
    for (const [key, endpoint] of this.written) copy.written.set(key, endpoint)
    for (const [key, time] of this.begunAt) copy.begunAt.set(key, time)
    return copy
  }
}

/** What a node says of itself. */
export interface Said {
  readonly main: Announcement | undefined
  readonly spare: SpareAnnouncement | undefined
}

/** One node of the model: the real planner and the real conversations over a kernel made of maps. */
export class WorldNode {
  readonly name: NodeName
  readonly podCidr: Cidr
  readonly address: IpAddress
  /** What its main device has, and what it is to get: on its disk. */
  key: PrivateKey
  next: PrivateKey | undefined
  port = PORT
  nextPort = PORT
  enabled = false
  /** It has the prefix that goes from node to node. */
  hasRoaming = false
  /** Milliseconds that its clock is behind the others'. */
  clockBehind = 0
  /** What this node's watch has shown it, which may be old. */
  readonly seen = new Map<NodeName, NodeRecord>()
  devices: Record<Lane, WorldDevice> = { main: new WorldDevice(), spare: new WorldDevice() }
  readonly routes = new Map<Cidr, Lane>()
  states: LaneStates | undefined
  plan: FamilyPlan | undefined
  conversations: Record<Lane, Map<NodeName, Talk>> = { main: new Map(), spare: new Map() }
  /** Keys that it had and lost. */
  readonly lostKeys = new Set<PublicKey>()
  /** Who it has accepted from since it lost a key. */
  readonly acceptedSince = new Set<NodeName>()
  readonly #index: number
  #rotations = 0

  constructor(index: number) {
    this.#index = index
    this.name = `node-${index}` as NodeName
    this.podCidr = parseCidr(`10.244.${index}.0/24`)
    this.address = parseAddress(`10.200.0.${index}`)
    this.key = keyAt(index - 1)
  }

  get deviceAddress(): IpAddress {
    return nthAddress(this.podCidr, 1) ?? this.address
  }

  get mainChanges(): boolean {
    return this.keyChanges || this.nextPort !== this.port
  }

  /** The next change of the main device gives it the next key. */
  get keyChanges(): boolean {
    return this.next !== undefined && !this.#spareIsTaken
  }

  /** Has it take another key, unless its spare device is there for somebody else. */
  rotate(): void {
    if (this.next || this.#spareIsTaken || this.#rotations === ROTATIONS) return
    this.next = keyAt(this.#index - 1 + AFTER_ROTATION + 4 * this.#rotations++)
  }

  /** As the agent decides it. */
  get #spareIsTaken(): boolean {
    const isCarried =
      [...this.conversations.spare.values()].some(({ heard }) => heard?.steers) ||
      [...this.routes.values()].includes('spare') ||
      isProven(this.states?.spare ?? new Map())
    return this.devices.spare.key === this.key && (isCarried || othersMove(this.seen, this.name, 4))
  }

  /** Has its main device listen elsewhere, or where it did before. */
  changePort(): void {
    this.nextPort = this.nextPort === PORT ? OTHER_PORT : PORT
  }

  /** What each device is to be, as the agent decides it. */
  identity(lane: Lane): { name: string; listenPort: number; privateKey: PrivateKey } {
    if (lane === 'main') return { name: CONFIG.interfaceName, listenPort: this.port, privateKey: this.key }
    return {
      name: SPARE_DEVICES[4],
      listenPort: SPARE_PORT,
      privateKey: this.#spareIsTaken ? this.key : (this.next ?? this.key),
    }
  }

  /** The main device becomes what it is to be. @param keyChanges as the pass found it when it began */
  change(keyChanges: boolean): void {
    if (keyChanges && this.next) {
      this.key = this.next
      this.next = undefined
    }
    this.port = this.nextPort
  }

  /** The machine comes back without its disk: nothing in its kernel, and another key. */
  loseKey(): void {
    for (const lane of LANES) {
      const { key } = this.devices[lane]
      if (key) this.lostKeys.add(key.publicKey())
    }
    this.lostKeys.add(this.key.publicKey())
    this.acceptedSince.clear()
    this.key = keyAt(this.#index - 1 + AFTER_LOSS)
    this.next = undefined
    this.devices = { main: new WorldDevice(), spare: new WorldDevice() }
    this.routes.clear()
    this.states = undefined
    this.plan = undefined
    this.conversations = { main: new Map(), spare: new Map() }
  }

  clone(): WorldNode {
    const copy = new WorldNode(this.#index)
    copy.key = this.key
    copy.next = this.next
    copy.#rotations = this.#rotations
    copy.port = this.port
    copy.nextPort = this.nextPort
    copy.enabled = this.enabled
    copy.hasRoaming = this.hasRoaming
    copy.clockBehind = this.clockBehind
    for (const [name, record] of this.seen) copy.seen.set(name, record)
    for (const [cidr, lane] of this.routes) copy.routes.set(cidr, lane)
    for (const key of this.lostKeys) copy.lostKeys.add(key)
    for (const name of this.acceptedSince) copy.acceptedSince.add(name)
    copy.devices = { main: this.devices.main.clone(), spare: this.devices.spare.clone() }
    copy.states = this.states
    copy.plan = this.plan
    copy.conversations = { main: cloneTalks(this.conversations.main), spare: cloneTalks(this.conversations.spare) }
    return copy
  }

  record(said: Said): NodeRecord {
    return {
      name: this.name,
      uid: this.name,
      createdAt: 0,
      addresses: [this.address],
      podCidrs: this.hasRoaming ? [this.podCidr, ROAMING] : [this.podCidr],
      tunnels: [],
      announced: { 4: said.main, 6: undefined },
      spare: { 4: said.spare, 6: undefined },
      faults: [],
    }
  }
}

const cloneTalks = (talks: ReadonlyMap<NodeName, Talk>): Map<NodeName, Talk> =>
  new Map([...talks].map(([name, talk]) => [name, talk.clone()]))

function keyAt(index: number): PrivateKey {
  const key = KEYS[index]
  if (!key) throw new RangeError(`no key ${index}`)
  return key
}
