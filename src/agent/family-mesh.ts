import type { PrivateKey } from '#keys/private-key.ts'
import { fingerprint, type PublicKey } from '#keys/public-key.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { adoptPeers } from '#src/mesh/adopt.ts'
import type { CidrSource } from '#src/mesh/claims.ts'
import type { FamilyConfig, FamilyView } from '#src/mesh/family-view.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'
import { obstacle, rivals } from '#src/mesh/obstacles.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import { type FamilyPlan, hellosOf, planFamily } from '#src/mesh/plan.ts'
import type { Cidr, Family } from '#wg/ip.ts'
import type { DesiredFamily, Ownership } from '#wg/reconcile/desired.ts'
import type { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import { HelloExchange } from './hello-exchange.ts'

/** Milliseconds between looks at the handshakes: while a pair is changing, and while none is. */
const FAST_POLL = 500
const SLOW_POLL = 10_000

/** A plan that follows from its own effects settles in two rounds; more would be an argument with the kernel. */
const MAX_ROUNDS = 4

/** What one pass is given. */
export interface MeshInput {
  readonly nodes: ReadonlyMap<NodeName, NodeRecord>
  readonly cidrSource: CidrSource
  readonly enabled: boolean
  readonly routeSync: boolean
  readonly natExceptions: readonly Cidr[]
  readonly config: FamilyConfig
  readonly key: PrivateKey | undefined
  /** Names of all links of the host. */
  readonly links: ReadonlySet<string>
}

/** The mesh of one family on this node: observes, plans, reconciles and speaks, one pass at a time. */
export class FamilyMesh {
  readonly family: Family
  readonly #self: NodeName
  readonly #kernel: FamilyKernel
  readonly #log: Logger
  readonly #hello: HelloExchange
  #states: PeerStates | undefined
  #plan: FamilyPlan | undefined
  #pollAt = 0
  #ownership: Ownership | undefined
  #rivals: readonly string[] = []

  /** @param wake asks for another pass soon */
  constructor(family: Family, self: NodeName, kernel: FamilyKernel, log: Logger, wake: () => void) {
    this.family = family
    this.#self = self
    this.#kernel = kernel
    this.#log = log
    this.#hello = new HelloExchange(log, wake)
  }

  get plan(): FamilyPlan | undefined {
    return this.#plan
  }

  /** What peers last said. */
  get heard(): ReadonlyMap<NodeName, HeardHello> {
    return this.#hello.heard()
  }

  /** What somebody else has in the kernel that may take packets from the mesh, a sentence each. */
  get rivals(): readonly string[] {
    return this.#rivals
  }

  get kernel(): FamilyKernel {
    return this.#kernel
  }

  /**
   * Brings the kernel to what the input asks for, as far as peers have proven themselves.
   * @param now milliseconds, monotonic
   * @returns when the next pass is due, milliseconds
   * @throws what the kernel refused; the next pass starts from a fresh look
   */
  async pass(input: MeshInput, now: number): Promise<number> {
    await this.#observe(input, now)
    this.#lookAround(input)
    this.#states ??= adoptPeers(this.#view(input, now))
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const plan = planFamily(this.#states, this.#view(input, now))
      this.#report(this.#states, plan.peers)
      this.#states = plan.peers
      this.#plan = plan
      const operations = await this.#kernel.reconcile(plan.desired)
      if (operations === 0) break
    }
    if ([...this.#states.values()].some(isChanging)) this.#pollAt = Math.min(this.#pollAt, now + FAST_POLL)
    return Math.min(this.#speak(input, now), this.#pollAt)
  }

  /** Forgets what the kernel was seen to hold: the next pass looks again. */
  distrust(): void {
    this.#pollAt = 0
    this.#kernel.invalidate()
  }

  close(): void {
    this.#hello.close()
  }

  async #observe({ config }: MeshInput, now: number): Promise<void> {
    const ownership = ownershipOf(this.family, config)
    if (this.#ownership && !sameOwnership(this.#ownership, ownership)) await this.#retire(this.#ownership)
    this.#ownership = ownership
    const { stale } = this.#kernel
    if (!stale && now < this.#pollAt) return
    if (stale) await this.#kernel.observe(ownership)
    else await this.#kernel.observeDevice()
    this.#pollAt = now + SLOW_POLL
  }

  /** What is somebody else's is found before anything of it could be touched. @throws Error with the remedy */
  #lookAround({ config, key, nodes, links, enabled }: MeshInput): void {
    const { family } = this
    const { device, others } = this.#kernel
    this.#rivals = enabled ? rivals({ family, config, rules: others.rules }) : []
    if (this.#states || !enabled) return
    const found = obstacle({
      ...{ family, config, links, routes: others.routes, rules: others.rules },
      own: nodes.get(this.#self),
      ownKey: key?.publicKey(),
      deviceKey: device?.publicKey,
    })
    if (found === undefined) return
    this.#kernel.invalidate()
    throw new Error(found)
  }

  /** The device has another name now, or its routes another table: what was there under the old one goes first. */
  async #retire(ownership: Ownership): Promise<void> {
    this.#log.warn(
      { event: 'device-given-up', device: ownership.deviceName },
      `${ownership.deviceName} is given up for another name or table`,
    )
    await this.#kernel.observe(ownership)
    await this.#kernel.reconcile(nothing(this.family))
    this.#kernel.invalidate()
    this.#states = undefined
  }

  #view({ nodes, cidrSource, enabled, routeSync, natExceptions, config, key }: MeshInput, now: number): FamilyView {
    const { device, up } = this.#kernel
    return {
      family: this.family,
      now,
      self: this.#self,
      nodes,
      cidrSource,
      enabled,
      routeSync,
      natExceptions,
      config,
      key,
      kernel: {
        up,
        peers: device?.peers ?? new Map(),
        steered: this.#kernel.steered([config.tables.mesh, config.tables.nodes]),
      },
      hellos: this.#hello.heard(),
    }
  }

  #speak(input: MeshInput, now: number): number {
    const plan = this.#plan
    const { key } = input
    if (!plan || !key) return Number.POSITIVE_INFINITY
    const { device } = plan.desired
    const [address] = device?.addresses ?? []
    this.#hello.open(
      this.#kernel.up && device && address ? { device: device.name, index: this.#kernel.index, address } : undefined,
    )
    const handshaken = (peer: PublicKey) => (this.#kernel.device?.peers.get(peer)?.latestHandshake ?? 0n) > 0n
    return this.#hello.speak(hellosOf(this.#view(input, now), plan.peers), plan.peers, key.publicKey(), handshaken, now)
  }

  #report(before: PeerStates, after: PeerStates): void {
    for (const name of new Set([...before.keys(), ...after.keys()])) {
      const from = before.get(name)
      const to = after.get(name)
      if (from?.phase === to?.phase && keyOf(from) === keyOf(to)) continue
      if (!to || (from === undefined && to.phase === 'absent')) continue
      const key = keyOf(to)
      this.#log.info(
        {
          event: 'peer-changed',
          peer: name,
          family: this.family,
          from: from?.phase ?? 'absent',
          to: to.phase,
          ...(key && { key: fingerprint(key) }),
        },
        `${name} IPv${this.family}: ${to.phase}: ${to.reason}`,
      )
    }
  }
}

const ownershipOf = (family: Family, { interfaceName, tables }: FamilyConfig): Ownership => ({
  family,
  deviceName: interfaceName,
  tables: new Set([tables.mesh, tables.nodes, tables.device]),
})

const sameOwnership = (a: Ownership, b: Ownership): boolean =>
  a.deviceName === b.deviceName && a.tables.size === b.tables.size && a.tables.isSubsetOf(b.tables)

const nothing = (family: Family): DesiredFamily => ({
  family,
  device: undefined,
  peers: new Map(),
  routes: [],
  rules: [],
  routeProtocol: 0,
})

const keyOf = (state: PeerState | undefined): PublicKey | undefined =>
  state === undefined || state.phase === 'absent' ? undefined : state.key

const isChanging = (state: PeerState): boolean =>
  state.phase === 'accepting' ||
  state.phase === 'lingering' ||
  (state.phase === 'encrypting' && state.candidate !== undefined)
