import { rm } from 'node:fs/promises'
import { OWN_ANNOTATIONS } from '#src/cluster/annotations.ts'
import { ApiClient } from '#src/cluster/api-client.ts'
import { loadCredentials } from '#src/cluster/connect.ts'
import { environmentLayer, resolveSettings } from '#src/cluster/felix-configuration.ts'
import { familyConfig } from '#src/mesh/family-config.ts'
import { openDevices } from '#wg/device/probe.ts'
import { FAMILIES } from '#wg/ip.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { applyRuleset, listTable } from '#wg/nftables/nft.ts'
import { removal, TABLE } from '#wg/nftables/ruleset.ts'
import { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'

export interface CleanupOptions {
  readonly interfaces: readonly string[]
  /** Whose annotations are withdrawn; undefined leaves the API server alone. */
  readonly nodeName: string | undefined
  readonly kubeconfig: string | undefined
  /** Removed with the keys in it; undefined keeps it. */
  readonly stateDir: string | undefined
}

/**
 * Removes every trace from this node. First what is announced, so that nobody sends into a tunnel that is going; then the
 * kernel, by the tables of the defaults with FELIX_* on top, as the API server need not be there any more.
 * @throws NetlinkError, DeviceError, SocketError, NftError, ApiError, ApiUnreachableError, CredentialsError
 */
export async function cleanup(options: CleanupOptions, say: (line: string) => void): Promise<void> {
  if (options.nodeName !== undefined) await withdraw(options.nodeName, options.kubeconfig, say)
  await cleanKernel(options.interfaces, say)
  if ((await listTable(TABLE)) !== undefined) {
    await applyRuleset(removal)
    say(`removed the nftables table inet ${TABLE}`)
  }
  if (options.stateDir !== undefined) {
    await rm(options.stateDir, { recursive: true, force: true })
    say(`removed ${options.stateDir}, and the keys in it`)
  }
  const left = [
    options.nodeName === undefined ? 'the Node’s annotations (--node-name)' : '',
    options.stateDir === undefined ? 'the state directory (--forget)' : '',
  ].filter(Boolean)
  say(`nothing of Podveil is left in the kernel${left.length > 0 ? `; not touched: ${left.join(', ')}` : ''}`)
}

async function withdraw(nodeName: string, kubeconfig: string | undefined, say: (line: string) => void): Promise<void> {
  const client = new ApiClient({ credentials: await loadCredentials(kubeconfig) })
  try {
    const annotations = Object.fromEntries(OWN_ANNOTATIONS.map(name => [name, null]))
    await client.mergePatch(`/api/v1/nodes/${encodeURIComponent(nodeName)}`, { metadata: { annotations } })
    say(`withdrew the annotations of Node ${nodeName}`)
  } finally {
    client.close()
  }
}

async function cleanKernel(interfaces: readonly string[], say: (line: string) => void): Promise<void> {
  const { settings } = resolveSettings([environmentLayer(process.env)])
  using net = RouteNetlink.open()
  using generic = Connection.open(NETLINK_GENERIC)
  const devices = await openDevices('auto', { links: net, generic, names: interfaces })
  const notes = { wrote: say, degraded: (error: Error) => say(error.message), foreign: say }
  for (const family of FAMILIES) {
    const { tables, routeProtocol } = familyConfig(family, settings, [])
    for (const deviceName of interfaces) {
      const kernel = new FamilyKernel(devices, net, notes)
      await kernel.observe({ family, deviceName, tables: new Set([tables.mesh, tables.nodes, tables.device]) })
      await kernel.reconcile({ family, device: undefined, peers: new Map(), routes: [], rules: [], routeProtocol })
    }
  }
}
