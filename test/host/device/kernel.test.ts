import { release } from 'node:os'
import { describe, expect, test } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { KernelDevices } from '#wg/device/kernel.ts'
import { resolveFamily } from '#wg/genetlink/controller.ts'
import { parseCidr } from '#wg/ip.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { isNetlinkError } from '#wg/netlink/errors.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { WG_GENL_NAME } from '#wg/wireguard/constants.ts'
import { encodeSetDevice } from '#wg/wireguard/encode.ts'
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
describe.skipIf(!isHere)(isHere ? name : `${name} (skipped: this kernel has no WireGuard; test/kernel/run has)`, () => {
  describeInNamespaces('in a network namespace', () => {
    deviceConformance(open, { runs: 10, many: 1_000 })
    realDeviceConformance(open)

    test('the remove flag is known to Linux 6.16 and later, and to none before', async () => {
      await using bench = await open()
      using connection = Connection.openIn(bench.namespace.path, NETLINK_GENERIC)
      const family = await resolveFamily(connection, WG_GENL_NAME)
      if (!family) throw new Error('the family has gone')
      const device = bench.newName()
      const publicKey = PrivateKey.generate().publicKey()
      const cidr = parseCidr('10.1.0.0/16')
      await bench.devices.create(device)
      await bench.devices.configure(device, { peers: [{ kind: 'set', publicKey, addAllowedIps: [cidr] }] })
      const [removal] = encodeSetDevice(family, device, {
        peers: [{ kind: 'set', publicKey, updateOnly: true, removeAllowedIps: [cidr] }],
      })
      if (!removal) throw new Error('no message')
      const answer = await connection.request(removal, 'remove by flag').catch((error: unknown) => error)
      const [major = 0, minor = 0] = release().split('.').map(Number)
      const isNew = major > 6 || (major === 6 && minor >= 16)
      expect(answer === undefined ? 'done' : isNetlinkError(answer, 'EINVAL') && 'EINVAL').toBe(
        isNew ? 'done' : 'EINVAL',
      )
      const left = (await bench.devices.read(device))?.peers.get(publicKey)?.allowedIps.size
      expect(left).toBe(isNew ? 0 : 1)
    })
  })
})
