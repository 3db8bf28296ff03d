import type { Logger } from '#src/cluster/logger.ts'
import type { HostLink } from '#src/mesh/family-config.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { DeviceKind, WireGuardDevices } from '#wg/device/device.ts'
import { type DevicePreference, openDevices } from '#wg/device/probe.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import type { Link } from '#wg/rtnetlink/link.ts'
import { type RouteEvent, RouteMonitor } from '#wg/rtnetlink/monitor.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { FamilyMesh } from './family-mesh.ts'

/** Everything of this node's kernel that the agent works on, open. */
export class Dataplane implements Disposable {
  readonly meshes: Readonly<Record<Family, FamilyMesh>>
  readonly kind: DeviceKind
  readonly #net: RouteNetlink
  readonly #generic: Connection
  readonly #monitor: RouteMonitor
  readonly #log: Logger
  readonly #wake: () => void
  readonly #links = new Map<number, Link>()

  /**
   * Opens what WireGuard there is here.
   * @param names of the devices, so that running ones are adopted
   * @throws DeviceError when there is no WireGuard, SocketError without CAP_NET_ADMIN
   */
  static async open(
    preference: DevicePreference,
    names: readonly string[],
    self: NodeName,
    log: Logger,
    wake: () => void,
  ): Promise<Dataplane> {
    // Before the first dump, so that nothing falls between the two.
    const monitor = RouteMonitor.open()
    const net = RouteNetlink.open()
    const generic = Connection.open(NETLINK_GENERIC)
    try {
      const devices = await openDevices(preference, { links: net, generic, names })
      const dataplane = new Dataplane(devices, net, generic, monitor, self, log, wake)
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
    self: NodeName,
    log: Logger,
    wake: () => void,
  ) {
    this.kind = devices.kind
    this.#net = net
    this.#generic = generic
    this.#monitor = monitor
    this.#log = log
    this.#wake = wake
    const notes = {
      wrote: (words: string) => log.debug({}, words),
      degraded: (error: Error) => log.warn({}, error.message),
    }
    const mesh = (family: Family) => new FamilyMesh(family, self, new FamilyKernel(devices, net, notes), log, wake)
    this.meshes = { 4: mesh(4), 6: mesh(6) }
    monitor.on('event', event => this.#noteEvent(event))
    monitor.on('malformed', error => log.warn({}, `passed over an event of the kernel: ${error.message}`))
    monitor.on('overrun', () => {
      log.warn({}, 'events of the kernel were lost: reading everything anew')
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

  /** The next pass reads the kernel anew, and repairs what differs. */
  distrust(): void {
    for (const family of FAMILIES) this.meshes[family].distrust()
    this.#readLinks().then(this.#wake, error => this.#log.warn({}, `cannot list links: ${String(error)}`))
  }

  [Symbol.dispose](): void {
    for (const family of FAMILIES) this.meshes[family].close()
    for (const open of [this.#monitor, this.#net, this.#generic]) open.close()
  }

  async #readLinks(): Promise<void> {
    const links = await this.#net.links()
    this.#links.clear()
    for (const link of links) this.#links.set(link.index, link)
  }

  #noteEvent(event: RouteEvent): void {
    if (event.kind === 'link') {
      if (event.change === 'added') this.#links.set(event.object.index, event.object)
      else this.#links.delete(event.object.index)
      this.#wake()
    }
    for (const family of FAMILIES) {
      const foreign = this.meshes[family].kernel.noteEvent(event)
      if (foreign === undefined) continue
      this.#log.warn({ family }, `somebody else ${foreign}: repairing it`)
      this.#wake()
    }
  }
}
