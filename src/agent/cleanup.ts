import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { environmentLayer, resolveSettings } from '#src/cluster/felix-configuration.ts'
import { familyConfig } from '#src/mesh/family-config.ts'
import { SPARE_DEVICES } from '#src/mesh/marks.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { FelixSettings } from '#src/mesh/settings.ts'
import { openDevices } from '#wg/device/probe.ts'
import { FAMILIES } from '#wg/ip.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { NeighbourTable } from '#wg/nftables/neighbours.ts'
import { applyRuleset, listTable } from '#wg/nftables/nft.ts'
import { OwnPacketFilter } from '#wg/nftables/packet-filter.ts'
import { removal, TABLE } from '#wg/nftables/ruleset.ts'
import { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { withdraw } from './cleanup-cluster.ts'
import { SysctlFile, VALID_MARK } from './sysctl-file.ts'

export interface CleanupOptions {
  /** Undefined: those of the configuration. */
  readonly interfaces: readonly string[] | undefined
  /** Whose annotations and condition are withdrawn; undefined leaves the API server alone. */
  readonly nodeName: string | undefined
  readonly kubeconfig: string | undefined
  /** Of the agent: what the host's sysctls were before it is there. */
  readonly stateDir: string
  /** Whether that is removed with the keys in it. */
  readonly forget: boolean
}

/**
 * Removes every trace from this node. First what is announced, so that nobody sends into a tunnel that is going; then the
 * kernel, by the names and tables of the cluster's configuration for this node. Without a Node's name they are those of the
 * defaults with FELIX_* on top, as the API server need not be there any more.
 * @throws NetlinkError, DeviceError, SocketError, NftError, SysctlError, ApiError, ApiUnreachableError, CredentialsError
 */
export async function cleanup(options: CleanupOptions, say: (line: string) => void): Promise<void> {
  const { nodeName, kubeconfig } = options
  const settings =
    nodeName === undefined
      ? resolveSettings([environmentLayer(process.env)]).settings
      : await withdraw(nodeName as NodeName, kubeconfig, say)
  const interfaces = options.interfaces ?? FAMILIES.map(family => settings.wireguard[family].interfaceName)
  await cleanKernel([...interfaces, ...Object.values(SPARE_DEVICES)], settings, say)
  if ((await listTable(TABLE)) !== undefined) {
    await applyRuleset(removal)
    say(`removed the nftables table inet ${TABLE}`)
  }
  using filter = new OwnPacketFilter()
  if ((await new NeighbourTable(filter).reconcile(undefined)) === 'written')
    say(`removed the nftables table arp ${TABLE}`)
  const was = await new SysctlFile(options.stateDir).putBack(VALID_MARK)
  if (was !== undefined) say(`set ${VALID_MARK.sysctl} back to ${was}`)
  if (options.forget) {
    await forget(options.stateDir)
    say(`removed ${options.stateDir}, and the keys in it`)
  }
  const left = [
    options.nodeName === undefined ? 'the Node’s annotations and condition (--node-name)' : '',
    !options.forget ? 'the state directory (--forget)' : '',
  ].filter(Boolean)
  say(`nothing of Podveil is left in the kernel${left.length > 0 ? `; not touched: ${left.join(', ')}` : ''}`)
}

/** A directory that is a volume of a container stays, empty: it is not the container's to remove. */
async function forget(directory: string): Promise<void> {
  try {
    for (const name of await readdir(directory)) await rm(join(directory, name), { recursive: true, force: true })
    await rmdir(directory)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'EBUSY') throw error
  }
}

async function cleanKernel(
  interfaces: readonly string[],
  settings: FelixSettings,
  say: (line: string) => void,
): Promise<void> {
  using net = RouteNetlink.open()
  using generic = Connection.open(NETLINK_GENERIC)
  const devices = await openDevices('auto', { links: net, generic, names: interfaces })
  const notes = { wrote: say, degraded: (error: Error) => say(error.message), foreign: say }
  for (const family of FAMILIES) {
    const { tables, hostTable, routeProtocol } = familyConfig(family, settings, [])
    const kernel = new FamilyKernel(devices, net, notes)
    const names = { deviceNames: new Set(interfaces), tables: new Set(Object.values(tables)), hostTable }
    await kernel.observe({ family, ...names })
    await kernel.reconcile({ family, devices: [], routes: new Map(), rules: [], routeProtocol })
  }
}
