import { readFile, writeFile } from 'node:fs/promises'

/** A setting below /proc/sys of the network namespace that this process is in, `net/ipv4/conf/all/rp_filter`. */
export type Sysctl = string

export class SysctlError extends Error {
  override readonly name = 'SysctlError'
  readonly code = 'ERR_SYSCTL'
  constructor(sysctl: Sysctl, value: string, cause: unknown) {
    super(`cannot set ${sysctl} to ${value}: is /proc/sys/net writable for the agent?`, { cause })
  }
}

/** @returns undefined where the kernel has no such setting */
export async function readSysctl(sysctl: Sysctl): Promise<string | undefined> {
  try {
    return (await readFile(`/proc/sys/${sysctl}`, 'utf8')).trim()
  } catch {
    return undefined
  }
}

/** Writes where the value differs. @returns whether it did @throws SysctlError */
export async function writeSysctl(sysctl: Sysctl, value: string): Promise<boolean> {
  if ((await readSysctl(sysctl)) === value) return false
  try {
    await writeFile(`/proc/sys/${sysctl}`, value)
    return true
  } catch (cause) {
    throw new SysctlError(sysctl, value, cause)
  }
}
