import type { DeviceChange, DeviceStatus, PeerChange, WireGuardDevices } from '../device/device.ts'
import { addressBits, type Cidr, type Family, type IpAddress } from '../ip.ts'
import { isNetlinkError } from '../netlink/errors.ts'
import type { Link } from '../rtnetlink/link.ts'
import type { RouteEvent } from '../rtnetlink/monitor.ts'
import { describeRoute, type Route, routeSlot } from '../rtnetlink/route.ts'
import type { RouteNetlink, RouteOperation } from '../rtnetlink/route-netlink.ts'
import { describeRule, type Rule } from '../rtnetlink/rule.ts'
import { readSysctl, writeSysctl } from '../sysctl.ts'
import type { DesiredDevice, DesiredFamily, Others, Ownership } from './desired.ts'
import { Mirror } from './mirror.ts'
import { diffPeers } from './peers.ts'
import { diffRoutes, diffRules, routeOf, ruleOf } from './routes.ts'

/** Handlers for what a person may want to know of the kernel's side. */
export interface KernelNotes {
  /** A change that was made, in words. */
  wrote(words: string): void
  /** Something that could not be set and that is not worth stopping for. */
  degraded(error: Error): void
  /** What somebody else did, in words: found by looking, where the event alone could not tell. */
  foreign(words: string): void
}

/**
 * The kernel's state of one family: observes it, and brings it to what is desired in an order that never leaves traffic
 * without a way: device, peers, routes, rules; when taking away, the reverse.
 */
export class FamilyKernel {
  readonly #devices: WireGuardDevices
  readonly #net: RouteNetlink
  readonly #notes: KernelNotes
  #mirror: Mirror | undefined
  /** What the link was believed to be when an event contradicted it. */
  #doubted: Link | undefined

  constructor(devices: WireGuardDevices, net: RouteNetlink, notes: KernelNotes) {
    this.#devices = devices
    this.#net = net
    this.#notes = notes
  }

  /** Nothing has been read yet, or what was read is no longer believed. */
  get stale(): boolean {
    return this.#mirror === undefined
  }

  get device(): DeviceStatus | undefined {
    const mirror = this.#mirror
    return mirror?.device && { ...mirror.device, peers: mirror.peers }
  }

  get up(): boolean {
    return this.#mirror?.link?.up === true && this.#mirror.device !== undefined
  }

  /** Of the device, changes when it is made anew. */
  get index(): number | undefined {
    return this.#mirror?.link?.index
  }

  /** Destinations that these tables send into the tunnel. */
  steered(tables: readonly number[]): Set<Cidr> {
    const destinations = new Set<Cidr>()
    for (const route of this.#mirror?.routes.values() ?? [])
      if (route.type === 'unicast' && route.device === this.index && tables.includes(route.table))
        destinations.add(route.destination)
    return destinations
  }

  /** What was there when the kernel was last read, and is not as we would make it. */
  get others(): Others {
    const elsewhere = ({ type, device }: Route) => type !== 'throw' && device !== this.index
    const routes = [...(this.#mirror?.routes.values() ?? [])].filter(elsewhere)
    const rules = this.#mirror?.otherRules ?? []
    return {
      rules: rules.map(rule => ({
        priority: rule.priority,
        invert: rule.invert ?? false,
        fwmark: rule.fwmark ?? 0,
        words: describeRule(rule),
      })),
      routes: routes.map(route => ({ table: route.table, words: describeRoute(route) })),
    }
  }

  invalidate(): void {
    this.#mirror = undefined
    this.#doubted = undefined
  }

  /** Reads all that is owned. @throws NetlinkError, DeviceError */
  async observe(ownership: Ownership): Promise<void> {
    const mirror = new Mirror(ownership)
    const { family, deviceName, tables } = ownership
    mirror.link = await this.#net.link(deviceName)
    if (mirror.link) {
      mirror.noteDevice(await this.#devices.read(deviceName))
      for (const { address } of await this.#net.addresses({ family, ifindex: mirror.link.index }))
        if (!isLinkLocal(address)) mirror.addresses.add(address)
    }
    for (const table of tables)
      for (const route of await this.#net.routes({ family, table })) mirror.routes.set(routeSlot(route), route)
    const rules = await this.#net.rules(family)
    mirror.rules = rules.filter(rule => tables.has(rule.table))
    mirror.otherRules = rules.filter(rule => !tables.has(rule.table))
    this.#mirror = mirror
    const done = this.#doubted && describeLinkChange(this.#doubted, mirror.link)
    this.#doubted = undefined
    if (done !== undefined) this.#notes.foreign(done)
  }

  /** Reads the device alone: handshakes, counters, endpoints, and peers that somebody else changed. */
  async observeDevice(): Promise<void> {
    const mirror = this.#mirror
    if (mirror?.device) mirror.noteDevice(await this.#devices.read(mirror.ownership.deviceName))
  }

  /** Takes in an event. @returns what somebody else did, in words, where that is what it says */
  noteEvent(event: RouteEvent): string | undefined {
    const believed = this.#mirror?.link
    const verdict = this.#mirror?.noteEvent(event) ?? 'expected'
    // With a device, or its last address, go its routes, and not all of them are told.
    const mayTakeMore = event.kind === 'link' || event.kind === 'address'
    if (verdict === 'look-again' || (verdict !== 'expected' && mayTakeMore)) this.invalidate()
    if (verdict === 'look-again') this.#doubted = believed
    return typeof verdict === 'string' ? undefined : verdict.foreign
  }

  /**
   * @returns how many changes were made
   * @throws NetlinkError, DeviceError: what was seen of the kernel is then no longer believed
   */
  async reconcile(desired: DesiredFamily): Promise<number> {
    const mirror = this.#mirror
    if (!mirror) throw new Error('reconcile before observe')
    try {
      return desired.device ? await this.#build(mirror, desired, desired.device) : await this.#dismantle(mirror)
    } catch (error) {
      this.invalidate()
      throw error
    }
  }

  async #build(mirror: Mirror, desired: DesiredFamily, device: DesiredDevice): Promise<number> {
    let changes = await this.#bringUp(mirror, desired.family, device)
    const index = mirror.link?.index ?? 0
    const peers = diffPeers(desired.peers, mirror.peers, mirror.writtenEndpoints)
    const wanted = desired.routes.map(route => routeOf(route, index, desired.routeProtocol))
    const routes = diffRoutes(wanted, mirror.routes)
    const rules = diffRules(
      desired.rules.map(rule => ruleOf(desired.family, rule)),
      mirror.rules,
    )
    changes += await this.#configure(mirror, { peers: peers.additions })
    changes += await this.#applyRoutes(mirror, 'replace', routes.missing)
    for (const rule of rules.missing) {
      mirror.rules.push(rule)
      await this.#net.addRule(rule)
      changes++
    }
    changes += await this.#removeRules(mirror, rules.surplus)
    changes += await this.#applyRoutes(mirror, 'delete', routes.surplus)
    changes += await this.#configure(mirror, { peers: peers.removals })
    return changes
  }

  async #dismantle(mirror: Mirror): Promise<number> {
    // Without device or rules nothing here is ours, whatever the tables hold.
    if (!mirror.link && mirror.rules.length === 0) return 0
    let changes = await this.#removeRules(mirror, mirror.rules)
    changes += await this.#applyRoutes(mirror, 'delete', [...mirror.routes.values()])
    if (mirror.link && mirror.device) {
      const { name } = mirror.link
      mirror.link = undefined
      mirror.noteDevice(undefined)
      mirror.addresses.clear()
      await this.#devices.remove(name)
      this.#notes.wrote(`removed ${name}`)
      changes++
    }
    return changes
  }

  async #bringUp(mirror: Mirror, family: Family, device: DesiredDevice): Promise<number> {
    const { name } = device
    let changes = 0
    if (!mirror.link || !mirror.device) {
      await this.#devices.create(name)
      mirror.link = await this.#net.link(name)
      mirror.noteDevice(await this.#devices.read(name))
      this.#notes.wrote(`made ${name}`)
      changes++
    }
    const { link } = mirror
    if (!link) throw new Error(`${name} is gone right after it was made`)
    changes += await this.#configure(mirror, {
      ...(mirror.device?.publicKey !== device.privateKey.publicKey() && { privateKey: device.privateKey }),
      ...(mirror.device?.fwmark !== device.fwmark && { fwmark: device.fwmark }),
    })
    if (link.mtu !== device.mtu) {
      mirror.link = { ...link, mtu: device.mtu }
      await this.#net.setLink(link.index, { mtu: device.mtu })
      this.#notes.wrote(`set the MTU of ${name} to ${device.mtu}`)
      changes++
    }
    changes += await this.#setAddresses(mirror, link.index, family, device)
    if (!mirror.tuned) {
      await this.#tune(family, name)
      mirror.tuned = true
    }
    if (!link.up) {
      mirror.link = { ...link, mtu: device.mtu, up: true }
      await this.#net.setLink(link.index, { up: true })
      changes++
    }
    // After it is up: only then does a port that is taken show itself in both kinds of device.
    if (mirror.device?.listenPort !== device.listenPort)
      changes += await this.#configure(mirror, { listenPort: device.listenPort })
    return changes
  }

  async #setAddresses(mirror: Mirror, ifindex: number, family: Family, device: DesiredDevice): Promise<number> {
    const prefixLength = addressBits(family)
    const missing = [...device.addresses.difference(mirror.addresses)]
    const surplus = [...mirror.addresses.difference(device.addresses)]
    for (const address of missing) {
      mirror.addresses.add(address)
      await this.#net.addAddress(ifindex, { address, prefixLength })
      this.#notes.wrote(`added address ${address} to ${device.name}`)
    }
    for (const address of surplus) {
      mirror.addresses.delete(address)
      await this.#ignoringAbsence(this.#net.deleteAddress(ifindex, { address, prefixLength }), 'EADDRNOTAVAIL')
      this.#notes.wrote(`removed address ${address} from ${device.name}`)
    }
    return missing.length + surplus.length
  }

  /** Loose reverse-path filter: while one side of a pair steers and the other does not yet, both ways must be let in. */
  async #tune(family: Family, name: string): Promise<void> {
    // No link-local addresses of its own making, and no questions to routers, in a tunnel that leads to nodes alone.
    const settings: [string, string][] = [
      [`net/ipv6/conf/${name}/addr_gen_mode`, '1'],
      [`net/ipv6/conf/${name}/accept_ra`, '0'],
    ]
    if (family === 4) settings.push([`net/ipv4/conf/${name}/rp_filter`, '2'])
    for (const [sysctl, value] of settings) {
      try {
        // A kernel without IPv6 has none of its settings.
        if (sysctl.startsWith('net/ipv6/') && (await readSysctl(sysctl)) === undefined) continue
        await writeSysctl(sysctl, value)
      } catch (error) {
        this.#notes.degraded(error as Error)
      }
    }
  }

  async #configure(mirror: Mirror, change: DeviceChange): Promise<number> {
    const { peers = [], ...fields } = change
    const { deviceName } = mirror.ownership
    if (peers.length === 0 && Object.keys(fields).length === 0) return 0
    await this.#devices.configure(deviceName, change)
    for (const peer of peers) {
      mirror.notePeer(peer)
      this.#notes.wrote(describePeer(deviceName, peer))
    }
    if (Object.keys(fields).length > 0) {
      mirror.noteDevice(await this.#devices.read(deviceName))
      this.#notes.wrote(`set ${Object.keys(fields).join(', ')} of ${deviceName}`)
    }
    return peers.length + Object.keys(fields).length
  }

  async #applyRoutes(mirror: Mirror, op: RouteOperation['op'], routes: readonly Route[]): Promise<number> {
    if (routes.length === 0) return 0
    for (const route of routes) {
      if (op === 'replace') mirror.routes.set(routeSlot(route), route)
      else mirror.routes.delete(routeSlot(route))
    }
    const errors = await this.#net.applyRoutes(routes.map(route => ({ op, route })))
    const failed = errors.filter(error => error !== undefined && !(op === 'delete' && isNetlinkError(error, 'ESRCH')))
    if (failed[0]) throw failed[0]
    this.#notes.wrote(`${op === 'replace' ? 'set' : 'removed'} ${routes.length} routes`)
    return routes.length
  }

  async #removeRules(mirror: Mirror, surplus: readonly Rule[]): Promise<number> {
    const rules = [...surplus]
    mirror.rules = mirror.rules.filter(rule => !rules.includes(rule))
    for (const rule of rules) await this.#ignoringAbsence(this.#net.deleteRule(rule), 'ENOENT')
    return rules.length
  }

  async #ignoringAbsence(operation: Promise<void>, errno: string): Promise<void> {
    try {
      await operation
    } catch (error) {
      if (!isNetlinkError(error, errno)) throw error
    }
  }
}

/** @returns undefined where nothing differs: the event was a late echo of what we did ourselves */
function describeLinkChange(before: Link, after: Link | undefined): string | undefined {
  if (after?.index !== before.index) return `deleted ${before.name}`
  if (before.up && !after.up) return `set ${before.name} down`
  if (before.mtu !== after.mtu) return `changed the MTU of ${before.name} from ${before.mtu} to ${after.mtu}`
  return undefined
}

/** The kernel makes these by itself. */
const isLinkLocal = (address: IpAddress): boolean => /^fe[89ab]/.test(address)

function describePeer(device: string, change: PeerChange): string {
  const key = change.publicKey.slice(0, 8)
  if (change.kind === 'remove') return `removed peer ${key} from ${device}`
  const parts = [
    change.endpoint && `endpoint ${change.endpoint.address}`,
    change.persistentKeepalive !== undefined && `keepalive ${change.persistentKeepalive}`,
    change.addAllowedIps?.length && `+${change.addAllowedIps.join(' +')}`,
    change.removeAllowedIps?.length && `-${change.removeAllowedIps.join(' -')}`,
  ]
  return `set peer ${key} of ${device}: ${parts.filter(Boolean).join(', ')}`
}
