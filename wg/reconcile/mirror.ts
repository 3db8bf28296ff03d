import type { PublicKey } from '#keys/public-key.ts'
import type { DeviceStatus, PeerChange, PeerStatus } from '../device/device.ts'
import { type Cidr, type Endpoint, type Family, familyOf, type IpAddress } from '../ip.ts'
import type { Link } from '../rtnetlink/link.ts'
import type { Change, RouteEvent } from '../rtnetlink/monitor.ts'
import { describeRoute, type Route, routeSlot, sameRoute } from '../rtnetlink/route.ts'
import { describeRule, type Rule, sameRule } from '../rtnetlink/rule.ts'
import type { Ownership } from './desired.ts'

/**
 * What an event amounts to. `look-again`: it contradicts what is known, but may be the late echo of something that we
 * changed since; only the kernel can tell.
 */
export type Verdict = 'expected' | 'look-again' | { readonly foreign: string }

/**
 * What the kernel holds of one family, as far as we know: read from it, then kept up with our own writes (noted before
 * they are sent) and with its events, so that an event which contradicts it is somebody else's doing.
 */
export class Mirror {
  readonly ownership: Ownership
  link: Link | undefined
  device: Omit<DeviceStatus, 'peers'> | undefined
  readonly peers = new Map<PublicKey, PeerStatus>()
  readonly addresses = new Set<IpAddress>()
  /** By routeSlot(). */
  readonly routes = new Map<string, Route>()
  rules: Rule[] = []
  /** Rules of the family that look up none of our tables, as they were when the kernel was read. */
  otherRules: readonly Rule[] = []
  /** The device's sysctls have been looked at since the kernel was read. */
  tuned = false
  /** The endpoint last written for each key. */
  readonly writtenEndpoints = new Map<PublicKey, Endpoint>()

  constructor(ownership: Ownership) {
    this.ownership = ownership
  }

  /** What the device says now; learned endpoints, handshakes and counters among it. */
  noteDevice(status: DeviceStatus | undefined): void {
    this.device = status
    this.peers.clear()
    for (const [key, peer] of status?.peers ?? []) this.peers.set(key, peer)
    for (const key of this.writtenEndpoints.keys()) if (!this.peers.has(key)) this.writtenEndpoints.delete(key)
  }

  /** What a change that was written makes of the peers, a prefix moving from one to another included. */
  notePeer(change: PeerChange): void {
    const { publicKey } = change
    if (change.kind === 'remove') {
      this.peers.delete(publicKey)
      this.writtenEndpoints.delete(publicKey)
      return
    }
    const added = new Set(change.addAllowedIps)
    for (const [key, peer] of this.peers) {
      if (key === publicKey || !intersects(peer.allowedIps, added)) continue
      this.peers.set(key, { ...peer, allowedIps: without(peer.allowedIps, added) })
    }
    const peer = this.peers.get(publicKey) ?? untouchedPeer(publicKey)
    if (change.endpoint) this.writtenEndpoints.set(publicKey, change.endpoint)
    this.peers.set(publicKey, {
      ...peer,
      allowedIps: without(new Set([...peer.allowedIps, ...added]), new Set(change.removeAllowedIps)),
      endpoint: change.endpoint ?? peer.endpoint,
      persistentKeepalive: change.persistentKeepalive ?? peer.persistentKeepalive,
    })
  }

  /** Takes in an event. @returns whose doing it was; `foreign` says what, in words */
  noteEvent(event: RouteEvent): Verdict {
    switch (event.kind) {
      case 'link':
        return event.object.name === this.ownership.deviceName ? this.#noteLink(event.change, event.object) : 'expected'
      case 'address': {
        if (event.object.ifindex !== this.link?.index || event.change !== 'removed') return 'expected'
        const { address } = event.object
        return this.addresses.delete(address) ? { foreign: `removed address ${address}` } : 'expected'
      }
      case 'route':
        return this.#owns(event.object.table, familyOf(event.object.destination))
          ? this.#noteRoute(event.change, event.object)
          : 'expected'
      case 'rule':
        return this.#owns(event.object.table, event.object.family)
          ? this.#noteRule(event.change, event.object)
          : 'expected'
    }
  }

  #owns(table: number, family: Family): boolean {
    return family === this.ownership.family && this.ownership.tables.has(table)
  }

  #noteLink(change: Change, link: Link): Verdict {
    const before = this.link
    if (change === 'removed') return before?.index === link.index ? { foreign: `deleted ${link.name}` } : 'expected'
    if (before === undefined) return 'expected'
    const same = before.index === link.index && before.up === link.up && before.mtu === link.mtu
    return same ? 'expected' : 'look-again'
  }

  #noteRoute(change: Change, route: Route): Verdict {
    const slot = routeSlot(route)
    const there = this.routes.get(slot)
    const same = there !== undefined && sameRoute(there, route)
    if (change === 'removed' ? !same : same) return 'expected'
    if (change === 'removed') this.routes.delete(slot)
    else this.routes.set(slot, route)
    return { foreign: `${change} route ${describeRoute(route)}` }
  }

  #noteRule(change: Change, rule: Rule): Verdict {
    const there = this.rules.some(known => sameRule(known, rule))
    if (there === (change === 'added')) return 'expected'
    this.rules = change === 'added' ? [...this.rules, rule] : this.rules.filter(known => !sameRule(known, rule))
    return { foreign: `${change} ${describeRule(rule)}` }
  }
}

const untouchedPeer = (publicKey: PublicKey): PeerStatus => ({
  publicKey,
  endpoint: undefined,
  allowedIps: new Set(),
  persistentKeepalive: 0,
  latestHandshake: 0n,
  rxBytes: 0n,
  txBytes: 0n,
})

const intersects = (a: ReadonlySet<Cidr>, b: ReadonlySet<Cidr>): boolean => !a.isDisjointFrom(b)

const without = (all: ReadonlySet<Cidr>, gone: ReadonlySet<Cidr>): ReadonlySet<Cidr> => all.difference(gone)
