import { readFile, writeFile } from 'node:fs/promises'

/** In a container /proc/sys is read-only; the host's is mounted elsewhere then. It shows this process's network namespace all the same. */
const ROOT = process.env.PODVEIL_PROC_SYS ?? '/proc/sys'

/** A setting below /proc/sys of the network namespace that this process is in, `net/ipv4/conf/all/rp_filter`. */
export type Sysctl = string

export class SysctlError extends Error {
  override readonly name = 'SysctlError'
  readonly code = 'ERR_SYSCTL'
  constructor(sysctl: Sysctl, value: string, cause: unknown) {
    super(`cannot set ${sysctl} to ${value}: is ${ROOT}/net writable for the agent? (PODVEIL_PROC_SYS)`, { cause })
  }
}

/** @returns undefined where the kernel has no such setting */
export async function readSysctl(sysctl: Sysctl): Promise<string | undefined> {
  try {
    return (await readFile(`${ROOT}/${sysctl}`, 'utf8')).trim()
  } catch {
    return undefined
  }
}

/** Writes where the value differs. @returns whether it did @throws SysctlError */
export async function writeSysctl(sysctl: Sysctl, value: string): Promise<boolean> {
  if ((await readSysctl(sysctl)) === value) return false
  try {
    await writeFile(`${ROOT}/${sysctl}`, value)
    return true
  } catch (cause) {
    throw new SysctlError(sysctl, value, cause)
  }
}
