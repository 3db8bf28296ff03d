import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { KeyFile } from '#keys/key-file.ts'
import type { PrivateKey } from '#keys/private-key.ts'
import type { Logger } from '#src/cluster/logger.ts'
import type { Family } from '#wg/ip.ts'

export type FamilyKeys = Readonly<Record<Family, PrivateKey | undefined>>

const NAMES = { 4: 'v4', 6: 'v6' } as const

/** The node's private keys: read from the state directory, and made there once they are needed. */
export class Keyring {
  readonly #file: KeyFile
  readonly #log: Logger
  #keys: FamilyKeys | undefined

  /** @param nodeUid binds the file to this Node object, so that a cloned disk does not clone a key */
  constructor(stateDir: string, machineId: string, nodeUid: string, log: Logger) {
    this.#file = new KeyFile(join(stateDir, 'keys.json'), { machineId, nodeUid })
    this.#log = log
  }

  /** @param create makes what is missing @throws KeyFileError */
  async keys(create: boolean): Promise<FamilyKeys> {
    if (this.#keys && !(create && Object.values(this.#keys).includes(undefined))) return this.#keys
    if (!create) {
      const loaded = await this.#file.load()
      const keys = loaded.kind === 'loaded' ? loaded.keys : new Map<string, PrivateKey>()
      this.#keys = { 4: keys.get(NAMES[4]), 6: keys.get(NAMES[6]) }
      return this.#keys
    }
    const { keys, origin } = await this.#file.loadOrCreate([NAMES[4], NAMES[6]])
    if (origin === 'created') this.#log.info({ event: 'keys-made' }, 'made new private keys in the state directory')
    if (origin === 'replaced-foreign')
      this.#log.warn(
        { event: 'keys-replaced' },
        'the keys in the state directory belong to another machine or Node: made new ones',
      )
    this.#keys = { 4: keys.get(NAMES[4]), 6: keys.get(NAMES[6]) }
    return this.#keys
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
