import { join } from 'node:path'
import { isObject, member, textOf } from '#src/cluster/hostile.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'
import { readStateFile, replaceStateFile } from './state-file.ts'

/** What the main device of a family is, whatever it is to become. */
export interface HeldDevice {
  readonly name: string
  readonly listenPort: number
  /** Its public key, and since when it has had it, Unix milliseconds. */
  readonly publicKey: string
  readonly keySince: number
}

const FILE = 'devices.json'

/**
 * Remembers what the main devices are, so that an agent that comes back finds a device which is to get another name, and
 * knows the age of its key. A file that is missing or damaged says that nothing is held.
 */
export class DeviceFile {
  readonly #path: string
  #held: Record<Family, HeldDevice | undefined> | undefined

  constructor(stateDir: string) {
    this.#path = join(stateDir, FILE)
  }

  /** @throws what reading a file throws, but for its absence */
  async held(family: Family): Promise<HeldDevice | undefined> {
    this.#held ??= parse((await readStateFile(this.#path)) ?? '')
    return this.#held[family]
  }

  async hold(family: Family, device: HeldDevice): Promise<void> {
    await this.held(family)
    this.#held = { 4: this.#held?.[4], 6: this.#held?.[6], [family]: device }
    await replaceStateFile(this.#path, `${JSON.stringify(this.#held)}\n`)
  }
}

function parse(text: string): Record<Family, HeldDevice | undefined> {
  const raw = parseJson(text)
  const of = (family: Family): HeldDevice | undefined => {
    const device = isObject(raw) ? member(raw, String(family)) : undefined
    if (!isObject(device)) return undefined
    const name = textOf(member(device, 'name'), 15)
    const publicKey = textOf(member(device, 'publicKey'), 64)
    const [listenPort, keySince] = [member(device, 'listenPort'), member(device, 'keySince')]
    if (name === undefined || publicKey === undefined) return undefined
    if (typeof listenPort !== 'number' || typeof keySince !== 'number') return undefined
    return { name, listenPort, publicKey, keySince }
  }
  return Object.fromEntries(FAMILIES.map(family => [family, of(family)])) as Record<Family, HeldDevice | undefined>
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
