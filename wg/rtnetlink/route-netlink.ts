import { constants } from 'node:os'
import { FAMILIES, type Family, familyOf } from '../ip.ts'
import { Connection } from '../netlink/connection.ts'
import { isNetlinkError, NetlinkError } from '../netlink/errors.ts'
import {
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
} from '../netlink/message.ts'
import { NETLINK_ROUTE } from '../netlink/socket.ts'
import { inSlices } from '../slices.ts'
import {
  type Address,
  type AddressPrefix,
  encodeAddress,
  encodeAddressDump,
  IFA_F_NODAD,
  parseAddressMessage,
} from './address.ts'
import {
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_GETROUTE,
  RTM_GETRULE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWROUTE,
  RTM_NEWRULE,
} from './constants.ts'
import { encodeLink, encodeLinkDump, type Link, type LinkChange, parseLink } from './link.ts'
import {
  describeRoute,
  encodeRoute,
  encodeRouteDump,
  encodeRouteQuery,
  parseRoute,
  type Route,
  type RouteQuery,
} from './route.ts'
import { describeRule, encodeRule, encodeRuleDump, parseRule, type Rule, sameRule, wouldDelete } from './rule.ts'

export interface RouteOperation {
  /** `replace` adds the route, or puts it in the place of whatever has the same routeSlot(). */
  readonly op: 'replace' | 'delete'
  readonly route: Route
}

/** Links, addresses, routes and rules of one network namespace. Every method may throw NetlinkError. */
export class RouteNetlink implements Disposable {
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** @throws SocketError, NativeAddonError */
  static open(): RouteNetlink {
    return new RouteNetlink(Connection.open(NETLINK_ROUTE))
  }

  /** For another network namespace: `/run/netns/name`. @throws SocketError, NativeAddonError */
  static openIn(netnsPath: string): RouteNetlink {
    return new RouteNetlink(Connection.openIn(netnsPath, NETLINK_ROUTE))
  }

  async links(): Promise<Link[]> {
    return this.#dump(RTM_GETLINK, encodeLinkDump(), parseLink, 'list links')
  }

  /** @returns undefined when there is none of that name */
  async link(name: string): Promise<Link | undefined> {
    const request = { type: RTM_GETLINK, flags: 0, payload: encodeLink(0, { name }) }
    try {
      const { payload } = await this.#connection.get(request, `read link ${name}`)
      return parseLink(payload)
    } catch (error) {
      if (isNetlinkError(error, 'ENODEV')) return undefined
      throw error
    }
  }

  /**
   * Makes a link, down.
   * @param kind `wireguard`, `bridge`; EOPNOTSUPP where the kernel has no such kind
   * @throws NetlinkError, EEXIST when the name is taken
   */
  async createLink(name: string, kind: string): Promise<Link> {
    const operation = `create ${kind} link ${name}`
    const payload = encodeLink(0, { name, kind })
    await this.#connection.request({ type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, payload }, operation)
    const link = await this.link(name)
    if (link === undefined) throw new NetlinkError(operation, constants.errno.ENODEV)
    return link
  }

  /** Writes only what is named. */
  async setLink(index: number, change: Omit<LinkChange, 'kind'>): Promise<void> {
    const what = Object.entries(change).map(([field, value]) => `${field} ${value}`)
    const request = { type: RTM_NEWLINK, flags: 0, payload: encodeLink(index, change) }
    await this.#connection.request(request, `set ${what.join(', ')} on link #${index}`)
  }

  async deleteLink(index: number): Promise<void> {
    await this.#connection.request({ type: RTM_DELLINK, flags: 0, payload: encodeLink(index) }, `delete link #${index}`)
  }

  async addresses({ family, ifindex }: { family?: Family; ifindex?: number } = {}): Promise<Address[]> {
    const found: Address[] = []
    for (const each of family === undefined ? FAMILIES : [family]) {
      const payload = encodeAddressDump(each, ifindex)
      found.push(...(await this.#dump(RTM_GETADDR, payload, parseAddressMessage, `list IPv${each} addresses`)))
    }
    // Kernels without strict checking answer with every device's.
    return ifindex === undefined ? found : found.filter(address => address.ifindex === ifindex)
  }

  /** Usable at once, without duplicate address detection. An address that is there already is left as it is. */
  async addAddress(ifindex: number, { address, prefixLength }: AddressPrefix): Promise<void> {
    const flags = familyOf(address) === 6 ? IFA_F_NODAD : 0
    const request = {
      type: RTM_NEWADDR,
      flags: NLM_F_CREATE | NLM_F_REPLACE,
      payload: encodeAddress({ ifindex, address, prefixLength, flags }),
    }
    await this.#connection.request(request, `add address ${address}/${prefixLength} to link #${ifindex}`)
  }

  /**
   * With the last IPv4 address of a device the kernel takes away all of its IPv4 routes, in every table.
   * @throws NetlinkError, EADDRNOTAVAIL when the device does not have it
   */
  async deleteAddress(ifindex: number, { address, prefixLength }: AddressPrefix): Promise<void> {
    const payload = encodeAddress({ ifindex, address, prefixLength })
    const operation = `delete address ${address}/${prefixLength} of link #${ifindex}`
    await this.#connection.request({ type: RTM_DELADDR, flags: 0, payload }, operation)
  }

  /** A table that nothing has been put in yet is empty. */
  async routes({ family, table }: { family: Family; table: number }): Promise<Route[]> {
    const operation = `list IPv${family} routes of table ${table}`
    try {
      const routes = await this.#dump(RTM_GETROUTE, encodeRouteDump(family, table), parseRoute, operation)
      return routes.filter(route => route.table === table)
    } catch (error) {
      if (isNetlinkError(error, 'ENOENT')) return []
      throw error
    }
  }

  /**
   * Asks the kernel for the way of one packet.
   * @returns undefined for a route that leads nowhere
   * @throws NetlinkError, ENETUNREACH where there is no route, EXDEV where the reverse-path filter drops it
   */
  async lookUp(query: RouteQuery): Promise<Route | undefined> {
    const operation = `look up the route to ${query.to}`
    const request = { type: RTM_GETROUTE, flags: 0, payload: encodeRouteQuery(query) }
    return parseRoute((await this.#connection.get(request, operation)).payload)
  }

  /**
   * In this order, in batches; one that fails does not stop the others.
   * @returns for each operation its error, undefined where it was done; ESRCH for a route to delete that is not there
   */
  async applyRoutes(
    operations: readonly RouteOperation[],
    signal?: AbortSignal,
  ): Promise<(NetlinkError | undefined)[]> {
    const words = (index: number): string => {
      const operation = operations[index]
      return operation === undefined ? 'apply routes' : `${operation.op} route ${describeRoute(operation.route)}`
    }
    return this.#connection.batch(encodeRouteOperations(operations), words, signal)
  }

  async rules(family: Family): Promise<Rule[]> {
    return this.#dump(RTM_GETRULE, encodeRuleDump(family), parseRule, `list IPv${family} rules`)
  }

  /** @throws NetlinkError, EEXIST when it is there already */
  async addRule(rule: Rule): Promise<void> {
    const operation = `add ${describeRule(rule)}`
    const request = { type: RTM_NEWRULE, flags: NLM_F_CREATE | NLM_F_EXCL, payload: encodeRule(rule) }
    try {
      await this.#connection.request(request, operation)
    } catch (error) {
      // The kernel compares only what the request names: to it, a rule that says more is this one as well.
      const isAnother = isNetlinkError(error, 'EEXIST') && !(await this.#hasRule(rule))
      if (!isAnother) throw error
      await this.#connection.request({ ...request, flags: NLM_F_CREATE }, operation)
    }
  }

  /**
   * Deletes this rule and no other.
   * @throws NetlinkError, ENOENT when it is not there; EEXIST when the kernel would take a similar rule that comes first
   */
  async deleteRule(rule: Rule): Promise<void> {
    const operation = `delete ${describeRule(rule)}`
    const rules = await this.rules(rule.family)
    if (!rules.some(candidate => sameRule(rule, candidate))) throw new NetlinkError(operation, constants.errno.ENOENT)
    const taken = rules.find(candidate => wouldDelete(rule, candidate))
    if (taken !== undefined && !sameRule(rule, taken))
      throw new NetlinkError(operation, constants.errno.EEXIST, {
        message: 'a similar rule comes before it: remove that one',
      })
    await this.#connection.request({ type: RTM_DELRULE, flags: 0, payload: encodeRule(rule) }, operation)
  }

  close(): void {
    this.#connection.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  async #hasRule(rule: Rule): Promise<boolean> {
    return (await this.rules(rule.family)).some(candidate => sameRule(rule, candidate))
  }

  async #dump<T>(
    type: number,
    payload: Uint8Array,
    parse: (payload: Uint8Array) => T | undefined,
    operation: string,
  ): Promise<T[]> {
    const messages: NetlinkMessage[] = await this.#connection.dump({ type, flags: 0, payload }, operation)
    return inSlices(parseEach(messages, parse))
  }
}

function* parseEach<T>(
  messages: readonly NetlinkMessage[],
  parse: (payload: Uint8Array) => T | undefined,
): Generator<undefined, T[]> {
  const found: T[] = []
  for (const { payload } of messages) {
    const object = parse(payload)
    if (object !== undefined) found.push(object)
    yield
  }
  return found
}

function* encodeRouteOperations(operations: readonly RouteOperation[]): Generator<NetlinkRequest> {
  for (const { op, route } of operations) {
    const payload = encodeRoute(route)
    if (op === 'replace') yield { type: RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_REPLACE, payload }
    else yield { type: RTM_DELROUTE, flags: 0, payload }
  }
}
