import { EventEmitter } from 'node:events'
import { NetlinkFormatError } from '../netlink/errors.ts'
import { decodeMessages, type NetlinkMessage } from '../netlink/message.ts'
import { NETLINK_ROUTE, type NetlinkSocket, openNetlinkSocket } from '../netlink/socket.ts'
import { type Address, parseAddressMessage } from './address.ts'
import {
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV4_RULE,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_IPV6_RULE,
  RTNLGRP_LINK,
} from './constants.ts'
import { type Link, parseLink } from './link.ts'
import { parseRoute, type Route } from './route.ts'
import { parseRule, type Rule } from './rule.ts'

/** `added` also says that something about the object has changed. */
export type Change = 'added' | 'removed'

export type RouteEvent =
  | { readonly kind: 'link'; readonly change: Change; readonly object: Link }
  | { readonly kind: 'address'; readonly change: Change; readonly object: Address }
  | { readonly kind: 'route'; readonly change: Change; readonly object: Route }
  | { readonly kind: 'rule'; readonly change: Change; readonly object: Rule }

export interface RouteMonitorEvents {
  event: [RouteEvent]
  /** Events were lost, nobody knows which: read everything anew. Those that follow are whole again. */
  overrun: []
  /** A message that could not be understood was passed over; the first of many is worth a log line. */
  malformed: [error: NetlinkFormatError]
}

/** Every table that a plan is written to, in both families. */
const GROUPS = [
  RTNLGRP_LINK,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV4_RULE,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_IPV6_RULE,
]

/** Holds some 20,000 events while the event loop is busy: the kernel counts about 840 bytes for one. */
const RECEIVE_BUFFER = 16 << 20

/**
 * Tells what changes, whoever changes it, from the moment it is made: open it before the first dump. IPv4 routes that go
 * because their device went down or away, or lost its last IPv4 address, are not told one by one: take it from the event
 * of the link or the address, and read the routes anew.
 *
 * It keeps the process alive until it is closed, unless unref() says otherwise.
 */
export class RouteMonitor extends EventEmitter<RouteMonitorEvents> implements Disposable {
  readonly #socket: NetlinkSocket
  #malformed = 0

  constructor(socket: NetlinkSocket) {
    super()
    this.#socket = socket
    socket.start({
      datagram: (bytes, port) => this.#receive(bytes, port),
      overrun: () => this.emit('overrun'),
    })
  }

  /** @throws SocketError, NativeAddonError */
  static open(options: { netnsFd?: number; netnsPath?: string; receiveBuffer?: number } = {}): RouteMonitor {
    return new RouteMonitor(
      openNetlinkSocket(NETLINK_ROUTE, { receiveBuffer: RECEIVE_BUFFER, ...options, groups: GROUPS }),
    )
  }

  /** For another network namespace: `/run/netns/name`. @throws SocketError, NativeAddonError */
  static openIn(netnsPath: string): RouteMonitor {
    return RouteMonitor.open({ netnsPath })
  }

  /** Messages passed over because they could not be understood. */
  get malformed(): number {
    return this.#malformed
  }

  ref(): this {
    this.#socket.ref()
    return this
  }

  unref(): this {
    this.#socket.unref()
    return this
  }

  close(): void {
    this.#socket.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #receive(bytes: Uint8Array, port: number): void {
    // Anybody may send to our port; only the kernel's word counts.
    if (port !== 0) return
    for (const message of this.#understand(() => decodeMessages(bytes)) ?? []) {
      const event = this.#understand(() => parseEvent(message))
      if (event !== undefined) this.emit('event', event)
    }
  }

  #understand<T>(parse: () => T): T | undefined {
    try {
      return parse()
    } catch (error) {
      if (!(error instanceof NetlinkFormatError)) throw error
      this.#malformed++
      this.emit('malformed', error)
      return undefined
    }
  }
}

/** @returns undefined for what is neither link, address, route nor rule @throws NetlinkFormatError */
export function parseEvent({ type, payload }: NetlinkMessage): RouteEvent | undefined {
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const object = parseLink(payload)
      return object && { kind: 'link', change: type === RTM_NEWLINK ? 'added' : 'removed', object }
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const object = parseAddressMessage(payload)
      return object && { kind: 'address', change: type === RTM_NEWADDR ? 'added' : 'removed', object }
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const object = parseRoute(payload)
      return object && { kind: 'route', change: type === RTM_NEWROUTE ? 'added' : 'removed', object }
    }
    case RTM_NEWRULE:
    case RTM_DELRULE: {
      const object = parseRule(payload)
      return object && { kind: 'rule', change: type === RTM_NEWRULE ? 'added' : 'removed', object }
    }
    default:
      return undefined
  }
}
