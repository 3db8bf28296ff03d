import { describe } from 'vitest'
import { KernelDevices } from '#wg/device/kernel.ts'
import { resolveFamily } from '#wg/genetlink/controller.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { WG_GENL_NAME } from '#wg/wireguard/constants.ts'
import { describeInNamespaces } from '../netlink/namespace.ts'
import { deviceConformance, realDeviceConformance } from './conformance.ts'
import { NamespaceBench } from './namespace-bench.ts'

async function hasModule(): Promise<boolean> {
  using connection = Connection.open(NETLINK_GENERIC)
  return (await resolveFamily(connection, WG_GENL_NAME)) !== undefined
}

const open = () =>
  NamespaceBench.make(async (namespace, links) => {
    const connection = Connection.openIn(namespace.path, NETLINK_GENERIC)
    const family = await resolveFamily(connection, WG_GENL_NAME)
    if (!family) throw new Error('the family has gone')
    return { devices: new KernelDevices(links, connection, family), close: () => connection.close() }
  })

const isHere = await hasModule()
const name = 'devices of the kernel'
describe.skipIf(!isHere)(isHere ? name : `${name} (this kernel has no WireGuard; test/kernel/run has)`, () => {
  describeInNamespaces('in a network namespace', () => {
    deviceConformance(open, { runs: 10, many: 1_000 })
    realDeviceConformance(open)
  })
})
