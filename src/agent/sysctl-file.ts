import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isObject, member } from '#src/cluster/hostile.ts'
import { readSysctl, type Sysctl, writeSysctl } from '#wg/sysctl.ts'
import { readStateFile, replaceStateFile } from './state-file.ts'

/** Another one after each boot, when sysctls are what the machine makes of them (random(4)). */
const BOOT = '/proc/sys/kernel/random/boot_id'
const FILE = 'sysctls.json'

/** A sysctl of the host, and what it is set to. */
export interface HostSysctl {
  readonly sysctl: Sysctl
  readonly value: string
}

/** Has a strict reverse-path filter look at the mark. The one setting of the host's own that the agent makes. */
export const VALID_MARK: HostSysctl = { sysctl: 'net/ipv4/conf/all/src_valid_mark', value: '1' }

interface Kept {
  readonly boot: string
  /** By sysctl. */
  readonly before: Readonly<Record<Sysctl, string>>
}

/** What sysctls of the host were before the agent set them, in the state directory: those of its devices go with the devices. */
export class SysctlFile {
  readonly #path: string

  constructor(stateDir: string) {
    this.#path = join(stateDir, FILE)
  }

  /**
   * Sets a sysctl, and remembers first what it was, unless it was set before since the machine booted.
   * @returns what it was, undefined where it was so already
   * @throws SysctlError, and what the file system says of the state directory
   */
  async set({ sysctl, value }: HostSysctl): Promise<string | undefined> {
    const found = await readSysctl(sysctl)
    if (found === value) return undefined
    const { boot, before } = await this.#read()
    if (found !== undefined && !(sysctl in before))
      await replaceStateFile(this.#path, `${JSON.stringify({ boot, before: { ...before, [sysctl]: found } })}\n`)
    await writeSysctl(sysctl, value)
    return found
  }

  /**
   * Puts back what was set, unless somebody has changed it since.
   * @returns what it was before, and is now; undefined where there is nothing to put back
   * @throws SysctlError
   */
  async putBack({ sysctl, value }: HostSysctl): Promise<string | undefined> {
    const { before } = await this.#read()
    const was = before[sysctl]
    const ours = was !== undefined && (await readSysctl(sysctl)) === value
    if (ours) await writeSysctl(sysctl, was)
    await rm(this.#path, { force: true })
    return ours ? was : undefined
  }

  async #read(): Promise<Kept> {
    const boot = (await readFile(BOOT, 'utf8')).trim()
    const kept = parse((await readStateFile(this.#path)) ?? '')
    // After a boot everything is what it would be without us.
    if (!isObject(kept) || member(kept, 'boot') !== boot) return { boot, before: {} }
    const before = member(kept, 'before')
    const texts = Object.entries(isObject(before) ? before : {}).flatMap(([sysctl, was]) =>
      typeof was === 'string' && /^\d{1,10}$/.test(was) ? [[sysctl, was] as const] : [],
    )
    return { boot, before: Object.fromEntries(texts) }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
