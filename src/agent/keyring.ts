import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { KeyFile } from '#keys/key-file.ts'
import type { KeyName } from '#keys/key-file-format.ts'
import { PrivateKey } from '#keys/private-key.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'

/** The private keys of one family. */
export interface FamilyKeys {
  readonly current: PrivateKey
  /** What takes its place, while the node changes from the one to the other. */
  readonly next: PrivateKey | undefined
}

export type NodeKeys = Readonly<Record<Family, FamilyKeys | undefined>>

const NAMES: Readonly<Record<Family, KeyName>> = { 4: 'v4', 6: 'v6' }

const nextName = (family: Family): KeyName => `${NAMES[family]}.next`

/** The node's private keys: read from the state directory, and made there once they are needed. */
export class Keyring {
  readonly #file: KeyFile
  readonly #log: Logger
  #keys: ReadonlyMap<KeyName, PrivateKey> | undefined

  /** @param nodeUid binds the file to this Node object, so that a cloned disk does not clone a key */
  constructor(stateDir: string, machineId: string, nodeUid: string, log: Logger) {
    this.#file = new KeyFile(join(stateDir, 'keys.json'), { machineId, nodeUid })
    this.#log = log
  }

  /** @param create makes what is missing @throws KeyFileError */
  async keys(create: boolean): Promise<NodeKeys> {
    if (create && !FAMILIES.every(family => this.#keys?.has(NAMES[family]))) await this.#create()
    if (!this.#keys) {
      const loaded = await this.#file.load()
      this.#keys = loaded.kind === 'loaded' ? loaded.keys : new Map()
    }
    const all = this.#keys
    const of = (family: Family): FamilyKeys | undefined => {
      const current = all.get(NAMES[family])
      return current && { current, next: all.get(nextName(family)) }
    }
    return { 4: of(4), 6: of(6) }
  }

  /** Makes the key that takes the place of the present one. It is on disk before anybody hears of it. @throws KeyFileError */
  async prepare(family: Family): Promise<void> {
    await this.#save(keys => keys.set(nextName(family), PrivateKey.generate()))
  }

  /** The next key is the present one from now on, and the one before is gone. @throws KeyFileError */
  async promote(family: Family): Promise<void> {
    await this.#save(keys => {
      const next = keys.get(nextName(family))
      if (next) keys.set(NAMES[family], next)
      keys.delete(nextName(family))
    })
  }

  async #save(change: (keys: Map<KeyName, PrivateKey>) => void): Promise<void> {
    const keys = new Map(this.#keys)
    change(keys)
    await this.#file.save(keys)
    this.#keys = keys
  }

  async #create(): Promise<void> {
    const { keys, origin } = await this.#file.loadOrCreate(FAMILIES.map(family => NAMES[family]))
    if (origin === 'created') this.#log.info({ event: 'keys-made' }, 'made new private keys in the state directory')
    if (origin === 'replaced-foreign')
      this.#log.warn(
        { event: 'keys-replaced' },
        'the keys in the state directory belong to another machine or Node: made new ones',
      )
    this.#keys = keys
  }
}

/** /etc/machine-id; empty where the machine has none. */
export async function readMachineId(): Promise<string> {
  try {
    return (await readFile('/etc/machine-id', 'utf8')).trim()
  } catch {
    return ''
  }
}
