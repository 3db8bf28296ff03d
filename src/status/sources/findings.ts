import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { KeyFileError } from '#keys/errors.ts'
import { KeyFile } from '#keys/key-file.ts'
import { KeyRecord } from '#src/agent/key-record.ts'
import { readMachineId } from '#src/agent/keyring.ts'
import { ApiError } from '#src/cluster/api-errors.ts'
import { messageOf } from '#src/cluster/hostile.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'
import { listTable } from '#wg/nftables/nft.ts'
import { TABLE } from '#wg/nftables/ruleset.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { readSysctl } from '#wg/sysctl.ts'
import type { ApiFindings, Findings, LinkFinding } from '../findings.ts'
import { openApi } from './cluster.ts'
import { deviceNames, otherDevices, readNodeKernel, whyNoWireGuard } from './kernel.ts'
import { readSnapshot } from './snapshot-file.ts'

/** CAP_NET_ADMIN of linux/capability.h. */
const CAP_NET_ADMIN = 12n

/** Looks at everything that `diagnose` judges, and changes nothing. Never throws: what cannot be learned is told. */
export async function collectFindings(stateDir: string, kubeconfig: string | undefined): Promise<Findings> {
  const { snapshot, missing } = await readSnapshot(stateDir)
  const names = deviceNames(snapshot)
  const node = snapshot && (await orReason(() => readOwnNode(kubeconfig, snapshot.node)))
  const links = await orReason(readLinks)
  const known = typeof links === 'string' ? [] : links
  return {
    now: Date.now(),
    snapshot: snapshot ?? missing ?? 'there is none',
    kernel: await orReason(() => readNodeKernel(names)),
    mayAdminister: await mayAdminister(),
    noWireGuard: await orReason(() => whyNoWireGuard(Object.values(names))),
    firewall: await orReason(async () => (await listTable(TABLE)) !== undefined),
    api:
      typeof node === 'object'
        ? node.api
        : (node ?? 'nobody knows the name of this node: the agent has left no snapshot'),
    keyFile: await keyFile(stateDir, typeof node === 'object' ? node.record?.uid : undefined),
    reversePath: await reversePath(known.map(({ name }) => name)),
    links: known,
    boundPorts: await boundPorts(),
    otherDevices: await otherDevices(
      known
        .filter(({ kind }) => kind === 'wireguard')
        .map(({ name }) => name)
        .filter(name => !Object.values(names).includes(name)),
    ).catch(() => []),
    felixRuns: await felixRuns(),
  }
}

async function orReason<T>(learn: () => Promise<T>): Promise<T | string> {
  try {
    return await learn()
  } catch (error) {
    return messageOf(error)
  }
}

async function mayAdminister(): Promise<boolean> {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1]
  return effective !== undefined && ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 1n
}

async function readLinks(): Promise<LinkFinding[]> {
  using net = RouteNetlink.open()
  return (await net.links()).map(({ name, kind, mtu, up }) => ({ name, kind, mtu, up }))
}

async function readOwnNode(
  kubeconfig: string | undefined,
  name: string,
): Promise<{ readonly api: ApiFindings; readonly record: NodeRecord | undefined }> {
  const client = await openApi(kubeconfig)
  const server = client.server.host
  try {
    const record = projectNode(await client.get(`/api/v1/nodes/${encodeURIComponent(name)}`))
    const announced = record && { 4: record.announced[4]?.publicKey, 6: record.announced[6]?.publicKey }
    return { api: { server, announced }, record }
  } catch (error) {
    if (error instanceof ApiError && error.status === 404)
      return { api: { server, announced: undefined }, record: undefined }
    throw error
  } finally {
    client.close()
  }
}

/** @param nodeUid where it is not known, the file cannot be told to be another Node's */
async function keyFile(stateDir: string, nodeUid: string | undefined): Promise<Findings['keyFile']> {
  try {
    const file = new KeyFile(join(stateDir, 'keys.json'), { machineId: await readMachineId(), nodeUid: nodeUid ?? '' })
    const { kind } = await file.load()
    if (kind === 'absent' && (await new KeyRecord(stateDir).load())) return 'in kernel'
    return kind === 'foreign' && nodeUid === undefined ? 'loaded' : kind
  } catch (error) {
    return { fault: error instanceof KeyFileError ? error.message : messageOf(error) }
  }
}

async function reversePath(names: readonly string[]): Promise<Findings['reversePath']> {
  const found = new Map<string, { filter: number; validMark: number }>()
  for (const name of ['all', ...names]) {
    const filter = await readSysctl(`net/ipv4/conf/${name}/rp_filter`)
    const validMark = await readSysctl(`net/ipv4/conf/${name}/src_valid_mark`)
    if (filter !== undefined) found.set(name, { filter: Number(filter), validMark: Number(validMark ?? 0) })
  }
  return found
}

/** Local ports of /proc/net/udp and udp6: `  sl  local_address …`, hexadecimal. */
async function boundPorts(): Promise<Set<number>> {
  const ports = new Set<number>()
  for (const file of ['/proc/net/udp', '/proc/net/udp6']) {
    const text = await readFile(file, 'utf8').catch(() => '')
    for (const [, port = ''] of text.matchAll(/^\s*\d+:\s+[0-9A-F]+:([0-9A-F]{4})\s/gm))
      ports.add(Number.parseInt(port, 16))
  }
  return ports
}

/** Sees processes of other containers only with the host's process namespace; without, it finds none and says nothing. */
async function felixRuns(): Promise<boolean> {
  for (const pid of (await readdir('/proc')).filter(name => /^\d+$/.test(name))) {
    const comm = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')
    if (!/^calico-(node|felix)$/m.test(comm)) continue
    const environment = (await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')).split('\0')
    if (!environment.some(entry => /^FELIX_WIREGUARDENABLED=(false|0|no|f|n)$/i.test(entry))) return true
  }
  return false
}
