import { KernelDevices } from '#wg/device/kernel.ts'
import { resolveFamily } from '#wg/genetlink/controller.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { WG_GENL_NAME } from '#wg/wireguard/constants.ts'
import { NamespaceBench } from '../../../host/device/namespace-bench.ts'
import type { Namespace } from '../../../host/netlink/namespace.ts'

/** The kernel's devices in a network namespace, on connections of their own. */
export class DeviceConnection implements Disposable {
  readonly devices: KernelDevices
  readonly #links: RouteNetlink
  readonly #connection: Connection

  private constructor(links: RouteNetlink, connection: Connection, devices: KernelDevices) {
    this.#links = links
    this.#connection = connection
    this.devices = devices
  }

  static async open(namespace: Namespace): Promise<DeviceConnection> {
    const connection = Connection.openIn(namespace.path, NETLINK_GENERIC)
    try {
      const family = await resolveFamily(connection, WG_GENL_NAME)
      if (!family) throw new Error('this kernel has no WireGuard')
      const links = RouteNetlink.openIn(namespace.path)
      return new DeviceConnection(links, connection, new KernelDevices(links, connection, family))
    } catch (error) {
      connection.close()
      throw error
    }
  }

  [Symbol.dispose](): void {
    this.#connection.close()
    this.#links.close()
  }
}

/** The same in a namespace of its own, with `wg` at hand. */
export const kernelBench = (): Promise<NamespaceBench> =>
  NamespaceBench.make(async namespace => {
    const opened = await DeviceConnection.open(namespace)
    return { devices: opened.devices, close: () => opened[Symbol.dispose]() }
  })

export const hasWireGuard = async (): Promise<boolean> => {
  using connection = Connection.open(NETLINK_GENERIC)
  return (await resolveFamily(connection, WG_GENL_NAME)) !== undefined
}
