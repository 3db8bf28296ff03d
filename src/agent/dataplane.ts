import type { PrivateKey } from '#keys/private-key.ts'
import { DEFAULTS } from '#src/cluster/felix-parameters.ts'
import type { Logger } from '#src/cluster/logger.ts'
import type { ProbeTimes } from '#src/hello/path-prober.ts'
import type { HostLink } from '#src/mesh/family-config.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { podMtu, UNCLAMPED_REMEDY, unclamped } from '#src/mesh/pod-mtu.ts'
import { DeviceError, type DeviceKind, type DeviceStatus, type WireGuardDevices } from '#wg/device/device.ts'
import { type DevicePreference, openDevices } from '#wg/device/probe.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { Firewall } from '#wg/nftables/firewall.ts'
import type { TableListing } from '#wg/nftables/listing.ts'
import { markUses } from '#wg/nftables/mark-use.ts'
import { TableMonitor } from '#wg/nftables/monitor.ts'
import { NeighbourTable } from '#wg/nftables/neighbours.ts'
import { listRules } from '#wg/nftables/nft.ts'
import { OwnPacketFilter } from '#wg/nftables/packet-filter.ts'
import { type DesiredFirewall, TABLE } from '#wg/nftables/ruleset.ts'
import { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import type { Link } from '#wg/rtnetlink/link.ts'
import { type RouteEvent, RouteMonitor } from '#wg/rtnetlink/monitor.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { readSysctl } from '#wg/sysctl.ts'
import { FamilyMesh } from './family-mesh.ts'
import { RepairPace } from './repair-pace.ts'
import { Repairs } from './report-repairs.ts'
import { SysctlFile, VALID_MARK } from './sysctl-file.ts'

export interface DataplaneOptions {
  readonly preference: DevicePreference
  /** Of the devices, so that running ones are adopted. */
  readonly names: readonly string[]
  readonly self: NodeName
  readonly stateDir: string
  readonly log: Logger
  readonly probeTimes: ProbeTimes
}

/** How much longer others' use of marks is not looked for than a look takes. */
const MARKS_SHARE = 100

/** Everything of this node's kernel that the agent works on, open. */
export class Dataplane implements Disposable {
  readonly meshes: Readonly<Record<Family, FamilyMesh>>
  readonly kind: DeviceKind
  readonly repairs = new Repairs()
  readonly #devices: WireGuardDevices
  readonly #net: RouteNetlink
  readonly #generic: Connection
  readonly #monitor: RouteMonitor
  readonly #log: Logger
  readonly #wake: () => void
  readonly #pace = new RepairPace()
  readonly #sysctls: SysctlFile
  #repairTimer: NodeJS.Timeout | undefined
  readonly #links = new Map<number, Link>()
  readonly #filter = new OwnPacketFilter()
  readonly #firewall = new Firewall(this.#filter)
  readonly #neighbours = new NeighbourTable(this.#filter)
  readonly #tableMonitor: TableMonitor
  #firewallFault: string | undefined
  #markUses: readonly string[] = []
  /** Whose use of which mark was looked for; undefined when it has to be looked for anew. */
  #soughtMark: number | undefined
  #seekMarksAt = Number.NEGATIVE_INFINITY
  #stalls: string | undefined
  #marksValidated = false
  /** They have been, at some time: what is found otherwise then is somebody else's doing. */
  #setMarks = false

  /**
   * Opens what WireGuard there is here.
   * @throws DeviceError when there is no WireGuard, SocketError without CAP_NET_ADMIN
   */
  static async open(options: DataplaneOptions, wake: () => void): Promise<Dataplane> {
    const { preference, names } = options
    // Before the first dump, so that nothing falls between the two.
    const monitor = RouteMonitor.open()
    const net = RouteNetlink.open()
    const generic = Connection.open(NETLINK_GENERIC)
    try {
      const devices = await openDevices(preference, { links: net, generic, names })
      const dataplane = new Dataplane(devices, net, generic, monitor, options, wake)
      await dataplane.#readLinks()
      return dataplane
    } catch (error) {
      for (const open of [monitor, net, generic]) open.close()
      throw error
    }
  }

  private constructor(
    devices: WireGuardDevices,
    net: RouteNetlink,
    generic: Connection,
    monitor: RouteMonitor,
    { self, stateDir, log, probeTimes }: DataplaneOptions,
    wake: () => void,
  ) {
    this.kind = devices.kind
    this.#devices = devices
    this.#net = net
    this.#generic = generic
    this.#monitor = monitor
    this.#log = log
    this.#wake = wake
    this.#sysctls = new SysctlFile(stateDir)
    const degraded = new Set<string>()
    const notes = {
      wrote: (words: string) => log.debug({ event: 'kernel-written' }, words),
      degraded: (error: Error) => {
        if (!degraded.has(error.message)) log.warn({ event: 'kernel-degraded' }, error.message)
        degraded.add(error.message)
      },
    }
    const mesh = (family: Family) => {
      const kernel = new FamilyKernel(devices, net, { ...notes, foreign: what => this.#noteForeign(family, what) })
      return new FamilyMesh(family, self, kernel, log, wake, probeTimes)
    }
    this.meshes = { 4: mesh(4), 6: mesh(6) }
    this.#tableMonitor = new TableMonitor(TABLE, () => {
      this.#firewall.suspect()
      this.#neighbours.suspect()
      wake()
    })
    monitor.on('event', event => this.#noteEvent(event))
    monitor.on('malformed', error =>
      log.warn({ event: 'kernel-event-malformed' }, `passed over an event of the kernel: ${error.message}`),
    )
    monitor.on('overrun', () => {
      log.warn({ event: 'kernel-events-lost' }, 'events of the kernel were lost: reading everything anew')
      this.distrust()
    })
  }

  /** The host's links, as far as the MTU is concerned. */
  get links(): HostLink[] {
    return [...this.#links.values()].map(({ name, mtu, up, operState }) => ({
      name,
      mtu,
      running: up && (operState === 'up' || operState === 'unknown'),
    }))
  }

  /** Private keys of those of these devices that there are. @throws DeviceError */
  async privateKeys(names: readonly string[]): Promise<PrivateKey[]> {
    const keys: PrivateKey[] = []
    for (const name of new Set(names)) {
      const key = (await this.#readOwn(name))?.privateKey
      if (key) keys.push(key)
    }
    return keys
  }

  /**
   * Brings the packet filter to what is desired. A tunnel without it works wherever the reverse-path filter is not
   * strict, so its failure is told, and is no reason to stop.
   */
  async filter(desired: DesiredFirewall | undefined): Promise<void> {
    try {
      const outcome = await this.#firewall.reconcile(desired)
      if (outcome === 'repaired') this.#noteForeign(undefined, `changed the nftables table ${TABLE}`)
      if ((await this.#neighbours.reconcile(desired?.hosts && desired.mark)) === 'repaired')
        this.#noteForeign(4, `changed the nftables table arp ${TABLE}`)
      if (desired && (outcome !== 'unchanged' || !this.#marksValidated)) await this.#validateMarks()
      this.#firewallFault = undefined
      this.#stalls = undefined
      void this.#seekMarks(desired?.mark)
    } catch (error) {
      this.#firewall.suspect()
      const fault = error instanceof Error ? error.message : String(error)
      if (fault !== this.#firewallFault) this.#log.warn({ event: 'packet-filter-failed' }, `packet filter: ${fault}`)
      this.#firewallFault = fault
      this.#warnOfPods()
    }
  }

  /** What is left alone and may send packets astray, a sentence each. */
  get rivals(): readonly string[] {
    return [...FAMILIES.flatMap(family => this.meshes[family].rivals), ...this.#markUses]
  }

  /** Our nftables table as it is to be: another object when it is another; undefined while it is not known. */
  get table(): TableListing | undefined {
    return this.#firewall.listing
  }

  /** The next pass reads the kernel anew, and repairs what differs. */
  distrust(): void {
    for (const family of FAMILIES) this.meshes[family].distrust()
    this.#firewall.suspect()
    this.#neighbours.suspect()
    this.#soughtMark = undefined
    this.#marksValidated = false
    this.#readLinks().then(this.#wake, error =>
      this.#log.warn({ event: 'links-unreadable' }, `cannot list links: ${String(error)}`),
    )
  }

  [Symbol.dispose](): void {
    for (const family of FAMILIES) this.meshes[family].close()
    clearTimeout(this.#repairTimer)
    this.#tableMonitor[Symbol.dispose]()
    this.#filter[Symbol.dispose]()
    for (const open of [this.#monitor, this.#net, this.#generic]) open.close()
  }

  async #readOwn(name: string): Promise<DeviceStatus | undefined> {
    try {
      return await this.#devices.read(name)
    } catch (error) {
      // Another kind of link, of that name: its family says so.
      if (error instanceof DeviceError && error.reason === 'not-wireguard') return undefined
      throw error
    }
  }

  async #readLinks(): Promise<void> {
    const links = await this.#net.links()
    this.#links.clear()
    for (const link of links) this.#links.set(link.index, link)
  }

  /** What clamps TCP is in the packet filter. */
  #warnOfPods(): void {
    const pods = podMtu(this.#links.values(), DEFAULTS.mtuIfacePattern)
    const ours = FAMILIES.flatMap(family => this.meshes[family].links.map(({ index }) => this.#links.get(index)?.mtu))
    const tunnel = Math.min(...ours.filter(mtu => mtu !== undefined))
    const stalls = unclamped(pods, tunnel, false)
    if (stalls !== undefined && stalls !== this.#stalls)
      this.#log.warn({ event: 'pods-unclamped', pods, tunnel }, `${stalls}: ${UNCLAMPED_REMEDY}`)
    this.#stalls = stalls
  }

  /** Beside the pass, which must not wait for it: where a proxy has thousands of services, nft lists for a second. */
  async #seekMarks(mark: number | undefined): Promise<void> {
    if (mark === undefined) this.#markUses = []
    const began = performance.now()
    if (mark === undefined || mark === this.#soughtMark || began < this.#seekMarksAt) return
    this.#soughtMark = mark
    this.#seekMarksAt = Number.POSITIVE_INFINITY
    try {
      const words = `somebody else's packet filter uses our mark 0x${mark.toString(16)}`
      const remedy = 'choose other bits with iptablesMarkMask in FelixConfiguration'
      this.#markUses = markUses(await listRules(), mark, TABLE).map(use => `${words}, in ${use}: ${remedy}`)
      if (this.#markUses.length > 0) this.#wake()
    } catch (error) {
      this.#log.debug({ event: 'marks-unknown' }, `others' use of marks is not known: ${String(error)}`)
    }
    const ended = performance.now()
    this.#seekMarksAt = ended + (ended - began) * MARKS_SHARE
  }

  /** Lets a strict reverse-path filter look at the mark. */
  async #validateMarks(): Promise<void> {
    if (await this.#hasStrictFilter()) {
      const found = await this.#sysctls.set(VALID_MARK)
      if (found !== undefined && this.#setMarks) this.#noteForeign(4, `set ${VALID_MARK.sysctl} to ${found}`)
      this.#setMarks = true
    }
    this.#marksValidated = true
  }

  /** The filter of a device is the stricter one of its own setting and that of all. */
  async #hasStrictFilter(): Promise<boolean> {
    const setting = async (name: string) => Number((await readSysctl(`net/ipv4/conf/${name}/rp_filter`)) ?? 0)
    const all = await setting('all')
    const own = await Promise.all([...this.#links.values()].map(({ name }) => setting(name)))
    return own.some(value => Math.max(all, value) === 1)
  }

  #noteEvent(event: RouteEvent): void {
    if (event.kind === 'link') {
      if (event.change === 'added') this.#links.set(event.object.index, event.object)
      else this.#links.delete(event.object.index)
      this.#wake()
    }
    for (const family of FAMILIES) {
      const foreign = this.meshes[family].noteEvent(event)
      if (foreign === undefined) continue
      this.#noteForeign(family, foreign)
      this.#wakeToRepair()
    }
  }

  /** @param family undefined for what is of both */
  #noteForeign(family: Family | undefined, what: string): void {
    this.repairs.note(family, what)
    const unsaid = this.#pace.say(`${family} ${what}`, performance.now())
    if (unsaid === undefined) return
    const more = unsaid > 0 ? ` (and ${unsaid} changes before it that were not logged)` : ''
    this.#log.warn({ event: 'foreign-change', family }, `somebody else ${what}: repairing it${more}`)
  }

  #wakeToRepair(): void {
    const wait = this.#pace.repair(performance.now())
    if (wait === 0) this.#wake()
    else if (this.#repairTimer === undefined)
      this.#repairTimer = setTimeout(() => {
        this.#repairTimer = undefined
        this.#wake()
      }, wait)
  }
}
