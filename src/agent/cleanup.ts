import { environmentLayer, resolveSettings } from '#src/cluster/felix-configuration.ts'
import { familyConfig } from '#src/mesh/family-config.ts'
import { openDevices } from '#wg/device/probe.ts'
import { FAMILIES } from '#wg/ip.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'

/**
 * Removes rules, routes and devices of both families from this network namespace. The tables are those of the defaults
 * with FELIX_* on top, as the API server need not be there any more.
 * @throws NetlinkError, DeviceError, SocketError
 */
export async function cleanup(interfaces: readonly string[], say: (line: string) => void): Promise<void> {
  const { settings } = resolveSettings([environmentLayer(process.env)])
  using net = RouteNetlink.open()
  using generic = Connection.open(NETLINK_GENERIC)
  const devices = await openDevices('auto', { links: net, generic, names: interfaces })
  const notes = { wrote: say, degraded: (error: Error) => say(error.message) }
  for (const family of FAMILIES) {
    const { tables, routeProtocol } = familyConfig(family, settings, [])
    for (const deviceName of interfaces) {
      const kernel = new FamilyKernel(devices, net, notes)
      await kernel.observe({ family, deviceName, tables: new Set([tables.mesh, tables.nodes, tables.device]) })
      await kernel.reconcile({ family, device: undefined, peers: new Map(), routes: [], rules: [], routeProtocol })
    }
  }
  say('nothing of Podveil is left in the kernel; the state directory and the Node annotations are not touched')
}
