import { KernelDevices } from '#wg/device/kernel.ts'
import { resolveFamily } from '#wg/genetlink/controller.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { WG_GENL_NAME } from '#wg/wireguard/constants.ts'
import { NamespaceBench } from '../../../host/device/namespace-bench.ts'

/** The kernel's devices in a network namespace of their own, with `wg` at hand. */
export const kernelBench = (): Promise<NamespaceBench> =>
  NamespaceBench.make(async (namespace, links) => {
    const connection = Connection.openIn(namespace.path, NETLINK_GENERIC)
    const family = await resolveFamily(connection, WG_GENL_NAME)
    if (!family) throw new Error('this kernel has no WireGuard')
    return { devices: new KernelDevices(links, connection, family), close: () => connection.close() }
  })

export const hasWireGuard = async (): Promise<boolean> => {
  using connection = Connection.open(NETLINK_GENERIC)
  return (await resolveFamily(connection, WG_GENL_NAME)) !== undefined
}
