import type { PublicKey } from '#keys/public-key.ts'
import { DeviceError, type DeviceStatus, type WireGuardDevices } from '../device/device.ts'
import type { Cidr, IpAddress } from '../ip.ts'
import { isNetlinkError } from '../netlink/errors.ts'
import { RTPROT_KERNEL } from '../rtnetlink/constants.ts'
import type { Link } from '../rtnetlink/link.ts'
import type { RouteEvent } from '../rtnetlink/monitor.ts'
import { describeRoute, type Route } from '../rtnetlink/route.ts'
import type { RouteOperation } from '../rtnetlink/route-netlink.ts'
import { describeRule, makeRule, type Rule } from '../rtnetlink/rule.ts'
import { sameInputs } from '../same-inputs.ts'
import { chunks, inSlices } from '../slices.ts'
import type { DesiredFamily, Others, Ownership } from './desired.ts'
import type { DeviceMirror } from './device-mirror.ts'
import { DeviceWriter, type FamilyNet, type KernelNotes } from './device-writer.ts'
import { foreignChanges } from './foreign.ts'
import { Mirror } from './mirror.ts'
import { diffRules, RouteDifferences, ruleOf } from './routes.ts'

/**
 * The kernel's state of one family: observes it, and brings it to what is desired in an order that never leaves traffic
 * without a way: devices, peers, routes, rules; when taking away, the reverse.
 */
export class FamilyKernel {
  readonly #devices: WireGuardDevices
  readonly #net: FamilyNet
  readonly #notes: KernelNotes
  readonly #writer: DeviceWriter
  #mirror: Mirror | undefined
  /** The links of our devices when they were last believed to be there. */
  readonly #lastLinks = new Map<string, Link>()
  /** What links were believed to be when an event contradicted it. */
  readonly #doubted = new Map<string, Link>()
  readonly #routeDifferences = new RouteDifferences()
  /** By device and tables. */
  readonly #steered = new Map<
    string,
    { readonly basis: readonly unknown[]; readonly destinations: ReadonlySet<Cidr> }
  >()

  constructor(devices: WireGuardDevices, net: FamilyNet, notes: KernelNotes) {
    this.#devices = devices
    this.#net = net
    this.#notes = notes
    this.#writer = new DeviceWriter(devices, net, notes)
  }

  /** Nothing has been read yet, or what was read is no longer believed. */
  get stale(): boolean {
    return this.#mirror === undefined
  }

  device(name: string): DeviceStatus | undefined {
    const held = this.#mirror?.devices.get(name)
    return held?.status && { ...held.status, peers: held.peers }
  }

  /** Of a device that is there; live. */
  peers(name: string): DeviceStatus['peers'] | undefined {
    const held = this.#mirror?.devices.get(name)
    return held?.status && held.peers
  }

  up(name: string): boolean {
    const held = this.#mirror?.devices.get(name)
    return held?.link?.up === true && held.status !== undefined
  }

  /** Of the device's link; changes when it is made anew. */
  index(name: string): number | undefined {
    return this.#mirror?.devices.get(name)?.link?.index
  }

  /** Destinations that these tables send into the device. The same object for as long as it says the same. */
  steered(tables: readonly number[], device: string): ReadonlySet<Cidr> {
    const index = this.index(device)
    const basis = [this.#mirror, this.#mirror?.routesVersion, index]
    const asked = [device, ...tables].join(' ')
    const known = this.#steered.get(asked)
    if (known && sameInputs(known.basis, basis)) return known.destinations
    const destinations = new Set<Cidr>()
    for (const route of this.#mirror?.routes.values() ?? [])
      if (route.type === 'unicast' && route.device === index && tables.includes(route.table))
        destinations.add(route.destination)
    this.#steered.set(asked, { basis, destinations })
    return destinations
  }

  /** Path MTUs, bytes, of the routes by this device that have one. */
  routeMtus(device: string): ReadonlyMap<Cidr, number> {
    const index = this.index(device)
    const mtus = new Map<Cidr, number>()
    for (const route of this.#mirror?.routes.values() ?? [])
      if (route.device === index && route.mtu !== undefined) mtus.set(route.destination, route.mtu)
    return mtus
  }

  /** Rules that were there when the kernel was last read, and are not ours. */
  get otherRules(): Others['rules'] {
    return (this.#mirror?.otherRules ?? []).map(rule => ({
      priority: rule.priority,
      invert: rule.invert ?? false,
      fwmark: rule.fwmark ?? 0,
      words: describeRule(rule),
    }))
  }

  /** Routes that are in our tables, and not as we would make them. */
  get otherRoutes(): Others['routes'] {
    const mirror = this.#mirror
    const own = new Set([...(mirror?.devices.values() ?? [])].map(({ link }) => link?.index))
    const elsewhere = ({ type, device }: Route) => type !== 'throw' && !own.has(device)
    return [...(mirror?.routes.values() ?? [])]
      .filter(elsewhere)
      .map(route => ({ table: route.table, words: describeRoute(route) }))
  }

  invalidate(): void {
    this.#forget()
    this.#doubted.clear()
  }

  #forget(): void {
    this.#rememberLinks()
    this.#mirror = undefined
  }

  #rememberLinks(): void {
    for (const { name, link } of this.#mirror?.devices.values() ?? []) if (link) this.#lastLinks.set(name, link)
  }

  /** Reads all that is owned. @throws NetlinkError, DeviceError */
  async observe(ownership: Ownership): Promise<void> {
    const { family, hostTable } = ownership
    const rules = await this.#net.rules(family)
    const left = hostTable !== undefined && rules.some(rule => rule.table === hostTable && isHostRule(rule))
    const tables = left ? new Set([...ownership.tables, hostTable]) : ownership.tables
    this.#rememberLinks()
    const mirror = new Mirror({ ...ownership, tables })
    for (const device of mirror.devices.values()) {
      device.link = await this.#net.link(device.name)
      if (!device.link) {
        device.renamed = await this.#renamed(device.name)
        continue
      }
      device.noteStatus(await this.#devices.read(device.name))
      for (const { address } of await this.#net.addresses({ family, ifindex: device.link.index }))
        if (!isLinkLocal(address)) device.addresses.add(address)
    }
    for (const table of tables) for (const route of await this.#net.routes({ family, table })) mirror.putRoute(route)
    mirror.rules = rules.filter(rule => tables.has(rule.table))
    mirror.otherRules = rules.filter(rule => !tables.has(rule.table))
    this.#mirror = mirror
    for (const [name, before] of this.#doubted) {
      const device = mirror.devices.get(name)
      const done = device?.renamed ? undefined : describeLinkChange(before, device?.link)
      if (done !== undefined) this.#notes.foreign(done)
    }
    this.#doubted.clear()
  }

  /** @returns the link that had this name, where it has another one now */
  async #renamed(name: string): Promise<Link | undefined> {
    const before = this.#lastLinks.get(name)
    const link = before && (await this.#net.links()).find(({ index }) => index === before.index)
    if (link) this.#notes.foreign(`renamed ${name} to ${link.name}`)
    else this.#lastLinks.delete(name)
    return link
  }

  /** Reads the devices alone: handshakes, counters, endpoints, and peers that somebody else changed. */
  async observeDevices(): Promise<void> {
    for (const device of this.#mirror?.devices.values() ?? []) await this.#observeDevice(device)
  }

  /**
   * Reads some peers alone. Where a device tells of others than are known, or somebody else changed these, all of it is read.
   * @param keys by the name of their device
   * @throws DeviceError
   */
  async observePeers(keys: ReadonlyMap<string, ReadonlySet<PublicKey>>): Promise<void> {
    for (const device of this.#mirror?.devices.values() ?? []) {
      const asked = keys.get(device.name)
      if (!device.status || !asked || asked.size === 0) continue
      const some = await this.#devices.readSome(device.name, asked)
      if (some && device.agreesWith(some, asked)) device.notePeers(some.peers)
      else await this.#observeDevice(device)
    }
  }

  async #observeDevice(device: DeviceMirror): Promise<void> {
    if (!device.status) return
    const status = await this.#devices.read(device.name, device.peers)
    for (const words of status ? foreignChanges(device, status) : []) this.#notes.foreign(words)
    device.noteStatus(status)
  }

  /** Takes in an event. @returns what somebody else did, in words, where that is what it says */
  noteEvent(event: RouteEvent): string | undefined {
    const verdict = this.#mirror?.noteEvent(event) ?? 'expected'
    if (verdict === 'expected') return undefined
    // With a device, or its last address, go its routes, and not all of them are told.
    if (event.kind === 'link' || event.kind === 'address') this.#forget()
    if ('foreign' in verdict) return verdict.foreign
    this.#doubted.set(verdict.lookAgain.name, verdict.lookAgain)
    return undefined
  }

  /**
   * @returns how many changes were made
   * @throws NetlinkError, DeviceError: what was seen of the kernel is then no longer believed
   */
  async reconcile(desired: DesiredFamily): Promise<number> {
    const mirror = this.#mirror
    if (!mirror) throw new Error('reconcile before observe')
    // Without device or rules nothing here is ours, whatever the tables hold.
    const nothingHeld = mirror.rules.length === 0 && [...mirror.devices.values()].every(({ link }) => !link)
    if (desired.devices.length === 0 && nothingHeld) return 0
    try {
      return await this.#bring(mirror, desired)
    } catch (error) {
      this.invalidate()
      throw error
    }
  }

  async #bring(mirror: Mirror, desired: DesiredFamily): Promise<number> {
    const { family } = desired
    let changes = await this.#freePorts(mirror, desired)
    const departures: (() => Promise<number>)[] = []
    for (const [place, device] of desired.devices.entries()) {
      const held = mirror.devices.get(device.name)
      if (!held) throw new Error(`${device.name} is desired and not owned`)
      try {
        changes += await this.#writer.bringUp(held, family, device)
      } catch (error) {
        // Without a spare device all goes on as it is; it only cannot be changed.
        if (place === 0 || !(error instanceof DeviceError)) throw error
        this.#notes.degraded(error)
        continue
      }
      const { additions, removals, settled } = await inSlices(
        held.differences.find(device.peers, held.peers, held.writtenEndpoints),
      )
      held.shareWith(device.peers, settled)
      changes += await this.#writer.configure(held, { peers: additions })
      departures.push(() => this.#writer.configure(held, { peers: removals }))
    }
    const indices = new Map(Array.from(mirror.devices, ([name, { link }]) => [name, link?.index ?? 0]))
    const routes = await inSlices(
      this.#routeDifferences.find(desired.routes, mirror.routes, indices, desired.routeProtocol),
    )
    const rules = diffRules(
      desired.rules.map(rule => ruleOf(family, rule)),
      mirror.rules,
    )
    changes += await this.#applyRoutes(mirror, 'replace', routes.missing)
    for (const rule of rules.missing) {
      mirror.rules.push(rule)
      await this.#net.addRule(rule)
      changes++
    }
    if (family === 6 && routes.missing.length > 0 && rules.missing.length === 0) await this.#renewWays()
    changes += await this.#removeRules(mirror, rules.surplus)
    changes += await this.#applyRoutes(mirror, 'delete', routes.surplus)
    for (const depart of departures) changes += await depart()
    return changes + (await this.#removeDevices(mirror, desired))
  }

  /** A device that is about to go may have the port of one that is yet to be made. */
  async #freePorts(mirror: Mirror, { devices }: DesiredFamily): Promise<number> {
    let changes = 0
    for (const held of mirror.devices.values()) {
      const port = held.status?.listenPort
      if (devices.some(({ name }) => name === held.name)) continue
      if (devices.some(({ listenPort }) => listenPort === port))
        changes += await this.#writer.configure(held, { listenPort: 0 })
    }
    return changes
  }

  async #removeDevices(mirror: Mirror, { devices }: DesiredFamily): Promise<number> {
    const wanted = new Set(devices.map(({ name }) => name))
    let removed = 0
    for (const device of mirror.devices.values()) {
      // A link of another kind has a name of ours, and is not ours.
      if (wanted.has(device.name) || !device.link || !device.status) continue
      device.noteRemoval()
      await this.#devices.remove(device.name)
      this.#notes.wrote(`removed ${device.name}`)
      removed++
    }
    return removed
  }

  async #applyRoutes(mirror: Mirror, op: RouteOperation['op'], routes: readonly Route[]): Promise<number> {
    for (const some of chunks(routes, CHUNK)) {
      for (const route of some) {
        if (op === 'replace') mirror.putRoute(route)
        else mirror.dropRoute(route)
      }
      const errors = await this.#net.applyRoutes(some.map(route => ({ op, route })))
      const failed = errors.filter(error => error !== undefined && !(op === 'delete' && isNetlinkError(error, 'ESRCH')))
      if (failed[0]) throw failed[0]
      this.#notes.wrote(`${op === 'replace' ? 'set' : 'removed'} ${some.length} routes`)
    }
    return routes.length
  }

  /**
   * A socket of this host keeps the way that it has found, in IPv6 also where a route in another table would be better. A
   * rule that is added has them all look again; this one says nothing, and nobody else's table is in it.
   */
  async #renewWays(): Promise<void> {
    const nothing = makeRule({ family: 6, priority: NOWHERE_NEAR, table: 0, action: 'nop', iif: 'lo' })
    try {
      await this.#net.addRule(nothing)
    } catch (error) {
      // Left there by an agent that ended in between.
      if (!isNetlinkError(error, 'EEXIST')) throw error
    }
    await this.#net.deleteRule(nothing)
  }

  async #removeRules(mirror: Mirror, surplus: readonly Rule[]): Promise<number> {
    const rules = [...surplus]
    mirror.rules = mirror.rules.filter(rule => !rules.includes(rule))
    for (const rule of rules) {
      try {
        await this.#net.deleteRule(rule)
      } catch (error) {
        if (!isNetlinkError(error, 'ENOENT')) throw error
      }
    }
    return rules.length
  }
}

/** Routes that are noted before any of them is sent. */
const CHUNK = 1_000

/** A priority that comes after all that decide. */
const NOWHERE_NEAR = 32_768

/** As an agent makes it that steers what this host sends: who started when that was over finds it, and takes it away. */
const isHostRule = ({ iif, protocol, fwmark = 0, fwmask = 0 }: Rule): boolean =>
  iif === 'lo' && protocol === RTPROT_KERNEL && fwmark === 0 && fwmask !== 0

/** @returns undefined where nothing differs: the event was a late echo of what we did ourselves */
function describeLinkChange(before: Link, after: Link | undefined): string | undefined {
  if (after?.index !== before.index) return `deleted ${before.name}`
  if (before.up && !after.up) return `set ${before.name} down`
  if (before.mtu !== after.mtu) return `changed the MTU of ${before.name} from ${before.mtu} to ${after.mtu}`
  return undefined
}

/** The kernel makes these by itself. */
const isLinkLocal = (address: IpAddress): boolean => /^fe[89ab]/.test(address)
