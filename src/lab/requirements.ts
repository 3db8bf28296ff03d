import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { LabError } from './errors.ts'
import { runIn } from './namespaces.ts'
import { run } from './run.ts'
import type { DataplaneChoice } from './state.ts'

/** Debian and Ubuntu packages that bring the programs which the lab and its cases run. */
export const PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  nft: 'nftables',
  'wireguard-go': 'wireguard-go',
  wg: 'wireguard-tools',
  tcpdump: 'tcpdump',
  ping: 'iputils-ping',
  openssl: 'openssl',
  kubectl: 'kubectl',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
}

const SEARCH_PATH = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']

const isInstalled = (program: string): boolean =>
  SEARCH_PATH.some(directory => {
    try {
      accessSync(join(directory, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })

/**
 * What this machine lacks for a lab; undefined when nothing does.
 * @param programs what is needed besides root, `ip` and `nft`
 */
export function missingRequirement(programs: readonly string[] = []): LabError | undefined {
  if (process.getuid?.() !== 0)
    return new LabError('ERR_LAB_NOT_ROOT', 'the lab makes network namespaces and needs root: run it with sudo')
  const missing = ['ip', 'nft', ...programs].filter(program => !isInstalled(program))
  if (missing.length === 0) return undefined
  const packages = missing.map(program => PACKAGES[program] ?? program)
  return new LabError(
    'ERR_LAB_MISSING_TOOL',
    `${missing.join(', ')} not found: apt-get install ${[...new Set(packages)].join(' ')}`,
  )
}

/** Whether wireguard-go can make devices here. */
export const hasUserspaceWireGuard = (): boolean => isInstalled('wireguard-go') && existsSync('/dev/net/tun')

/** Whether the kernel makes WireGuard links in this namespace; one is made and removed. */
export async function hasKernelWireGuard(namespace: string): Promise<boolean> {
  const { status } = await run(['ip', '-n', namespace, 'link', 'add', 'wg-try', 'type', 'wireguard'])
  if (status === 0) await run(['ip', '-n', namespace, 'link', 'del', 'wg-try'])
  return status === 0
}

/**
 * Agents need one implementation of WireGuard.
 * @param namespace one of the lab's own, to try in
 * @throws LabError
 */
export async function requireWireGuard(namespace: string, dataplane: DataplaneChoice): Promise<void> {
  if (dataplane !== 'userspace' && (await hasKernelWireGuard(namespace))) return
  if (dataplane === 'kernel')
    throw new LabError(
      'ERR_LAB_NO_WIREGUARD',
      'this kernel makes no WireGuard devices: load the module (modprobe wireguard), or use --dataplane userspace',
    )
  if (hasUserspaceWireGuard()) return
  throw new LabError(
    'ERR_LAB_NO_WIREGUARD',
    existsSync('/dev/net/tun')
      ? 'neither the kernel nor wireguard-go makes WireGuard devices: apt-get install wireguard-go'
      : 'this kernel makes no WireGuard devices, and without /dev/net/tun wireguard-go cannot either: modprobe tun',
  )
}

/** The rules of the underlay watcher need the bridge family of nftables. @throws LabError */
export async function requireBridgeTables(namespace: string): Promise<void> {
  const { status, stderr } = await runIn(namespace, ['nft', 'list', 'tables', 'bridge'])
  if (status !== 0)
    throw new LabError(
      'ERR_LAB_COMMAND',
      `nftables has no bridge family here (modprobe nft_meta_bridge nf_tables): ${stderr.trim().split('\n', 1)[0]}`,
    )
}
