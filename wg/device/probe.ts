import { resolveFamily } from '../genetlink/controller.ts'
import type { Connection } from '../netlink/connection.ts'
import { UserspaceProcesses, type UserspaceProcessOptions } from '../uapi/process.ts'
import { WG_GENL_NAME } from '../wireguard/constants.ts'
import { DeviceError, type DeviceKind, type WireGuardDevices } from './device.ts'
import { KernelDevices } from './kernel.ts'
import type { Links } from './links.ts'
import { UserspaceDevices } from './userspace.ts'

/** `auto` takes the kernel's where there is one. */
export type DevicePreference = DeviceKind | 'auto'

export interface DeviceAccess {
  readonly links: Links
  /** To NETLINK_GENERIC, in the network namespace of `links`. */
  readonly generic: Pick<Connection, 'get' | 'request' | 'dump'>
  readonly userspace?: UserspaceProcessOptions
  /**
   * Names of the devices that will be asked for. With `auto`, one that is running in user space keeps everything there: a
   * module that was installed meanwhile must not cost a running tunnel.
   */
  readonly names?: readonly string[]
}

const NO_MODULE =
  'this kernel has no WireGuard: use Linux 5.6 or later with the module wireguard (Debian, Ubuntu: linux-modules-extra of this kernel; elsewhere CONFIG_WIREGUARD)'

/**
 * Finds out which implementation there is on this machine. Asking the kernel for the family makes it load the module.
 * @throws DeviceError when there is none, with the reason and the remedy for each; NetlinkError
 */
export async function openDevices(preference: DevicePreference, access: DeviceAccess): Promise<WireGuardDevices> {
  const { links, generic, userspace = {}, names = [] } = access
  const reasons: string[] = []
  if (preference !== 'userspace' && !(preference === 'auto' && (await anyRunning(links, userspace, names)))) {
    const family = await resolveFamily(generic, WG_GENL_NAME)
    if (family) return new KernelDevices(links, generic, family)
    reasons.push(`kernel: ${NO_MODULE}`)
  }
  if (preference !== 'kernel') {
    const missing = await new UserspaceProcesses(userspace).missing()
    if (missing === undefined) return new UserspaceDevices(links, userspace)
    reasons.push(`userspace: ${missing}`)
  }
  throw new DeviceError('unsupported', 'WireGuard', reasons.join('; '))
}

async function anyRunning(links: Links, options: UserspaceProcessOptions, names: readonly string[]): Promise<boolean> {
  const processes = new UserspaceProcesses(options)
  // The socket alone may be of another network namespace's device.
  const isHere = async (name: string): Promise<boolean> =>
    (await links.link(name))?.kind === 'tun' && (await processes.isRunning(name).catch(() => false))
  return (await Promise.all(names.map(isHere))).includes(true)
}
