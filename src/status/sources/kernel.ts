import { environmentLayer, resolveSettings } from '#src/cluster/felix-configuration.ts'
import { SPARE_DEVICES } from '#src/mesh/marks.ts'
import { DeviceError, type DeviceStatus, type WireGuardDevices } from '#wg/device/device.ts'
import { openDevices } from '#wg/device/probe.ts'
import type { Family } from '#wg/ip.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import type { Route } from '#wg/rtnetlink/route.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import type { KernelFamily, NodeKernel } from '../node-kernel.ts'
import type { NodeSnapshot } from '../snapshot.ts'

/** Names of the devices: as the agent has them, else as the environment and the defaults say. */
export function deviceNames(snapshot: NodeSnapshot | undefined): Record<Family, string> {
  const { wireguard } = resolveSettings([environmentLayer(process.env)]).settings
  const name = (family: Family) => {
    const told = snapshot?.families.find(one => one.family === family)
    // While it is renamed, the device there is has the name of before.
    return told?.device?.name ?? told?.interfaceName ?? wireguard[family].interfaceName
  }
  return { 4: name(4), 6: name(6) }
}

/**
 * Reads what the kernel of this network namespace holds, and changes nothing.
 * @throws SocketError, NetlinkError, DeviceError; without CAP_NET_ADMIN a device cannot be read
 */
export async function readNodeKernel(names: Readonly<Record<Family, string>>): Promise<NodeKernel> {
  using net = RouteNetlink.open()
  using generic = Connection.open(NETLINK_GENERIC)
  const devices = await devicesHere(net, generic, Object.values(names))
  const links = await net.links()
  const read = async (family: Family): Promise<KernelFamily> => {
    const link = links.find(({ name }) => name === names[family])
    const device = link && (await devices?.read(link.name))
    const rules = await net.rules(family)
    const routes = new Map<number, readonly Route[]>()
    for (const { action, table } of rules)
      if (action === 'lookup' && !routes.has(table)) routes.set(table, await net.routes({ family, table }))
    const spareLink = links.find(({ name }) => name === SPARE_DEVICES[family])
    const spare = spareLink && (await devices?.read(spareLink.name))
    const addressesOf = async (one: typeof link) =>
      one ? (await net.addresses({ family, ifindex: one.index })).map(({ address }) => address) : []
    const spareAddresses = await addressesOf(spareLink)
    return {
      family,
      link,
      device: device && withoutKey(device),
      ...(spareLink && spare && { spare: { link: spareLink, device: withoutKey(spare), addresses: spareAddresses } }),
      addresses: await addressesOf(link),
      rules,
      routes,
    }
  }
  return {
    kind: devices?.kind,
    links: new Map(links.map(({ index, name }) => [index, name])),
    families: { 4: await read(4), 6: await read(6) },
  }
}

async function devicesHere(
  links: RouteNetlink,
  generic: Connection,
  names: readonly string[],
): Promise<WireGuardDevices | undefined> {
  try {
    return await openDevices('auto', { links, generic, names })
  } catch (error) {
    if (error instanceof DeviceError && error.reason === 'unsupported') return undefined
    throw error
  }
}

/** @returns why there is no WireGuard here; undefined when there is @throws SocketError, NetlinkError */
export async function whyNoWireGuard(names: readonly string[]): Promise<string | undefined> {
  using net = RouteNetlink.open()
  using generic = Connection.open(NETLINK_GENERIC)
  try {
    await openDevices('auto', { links: net, generic, names })
    return undefined
  } catch (error) {
    if (error instanceof DeviceError) return error.message
    throw error
  }
}

/** WireGuard devices of the kernel's by these names. @throws SocketError, NetlinkError, DeviceError */
export async function otherDevices(
  names: readonly string[],
): Promise<{ readonly name: string; readonly port: number; readonly fwmark: number }[]> {
  if (names.length === 0) return []
  using net = RouteNetlink.open()
  using generic = Connection.open(NETLINK_GENERIC)
  const devices = await openDevices('kernel', { links: net, generic })
  const found = await Promise.all(names.map(name => devices.read(name)))
  return found.flatMap(device =>
    device ? [{ name: device.name, port: device.listenPort, fwmark: device.fwmark }] : [],
  )
}

/** The private key goes no further than it must. */
function withoutKey({ name, publicKey, listenPort, fwmark, peers }: DeviceStatus): Omit<DeviceStatus, 'privateKey'> {
  return { name, publicKey, listenPort, fwmark, peers }
}
