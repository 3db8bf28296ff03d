import { readFile, writeFile } from 'node:fs/promises'
import { release, version } from 'node:os'
import type { Logger } from '#src/cluster/logger.ts'
import { decideThreading } from '#src/mesh/threading.ts'

const DIRECTORY = '/sys/class/net'

/** Keeps the threaded NAPI of the kernel's own devices as the operator wants it, and as the kernel can stand it. */
export class Threading {
  readonly #log: Logger
  /** What was made of each device: one is looked at when it is new, and when the wish has changed. */
  readonly #made = new Map<string, string>()
  #refusal: string | undefined

  constructor(log: Logger) {
    this.#log = log
  }

  /** One sentence, where the wish was refused. */
  get refusal(): string | undefined {
    return this.#refusal
  }

  /** @param index of the link: another one is another device */
  async keep(device: string, index: number | undefined, wanted: boolean): Promise<void> {
    const { threaded, refusal } = decideThreading(wanted, release(), version())
    if (refusal !== undefined && refusal !== this.#refusal) this.#log.warn({ event: 'threading-refused' }, refusal)
    this.#refusal = refusal
    const made = `${index} ${wanted}`
    const before = this.#made.get(device)
    if (index === undefined || before === made) return
    this.#made.set(device, made)
    // What was asked for before is taken back; what nobody asked for is the kernel's.
    const value = threaded ?? (before === `${index} true` ? false : undefined)
    if (value !== undefined) await this.#write(device, value ? '1' : '0')
  }

  /** A failure is told once for each device: in a container /sys is often read-only. */
  async #write(device: string, value: '0' | '1'): Promise<void> {
    const file = `${DIRECTORY}/${device}/threaded`
    try {
      if ((await readFile(file, 'utf8')).trim() === value) return
      await writeFile(file, value)
      this.#log.info(
        { event: 'threading-set', device, threaded: value },
        `threaded NAPI of ${device}: ${value === '1' ? 'on' : 'off'}`,
      )
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      this.#log.warn(
        { event: 'threading-refused', device },
        `cannot set threaded NAPI of ${device} to ${value}: is ${DIRECTORY} writable for the agent? (${why})`,
      )
    }
  }
}
