import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { KeyFile } from '#keys/key-file.ts'
import type { KeyBinding, KeyName } from '#keys/key-file-format.ts'
import { PrivateKey } from '#keys/private-key.ts'
import type { Logger } from '#src/cluster/logger.ts'
import type { KeyStorage } from '#src/mesh/key-storage.ts'
import { FAMILIES, type Family } from '#wg/ip.ts'
import { KeyRecord } from './key-record.ts'

/** The private keys of one family. */
export interface FamilyKeys {
  readonly current: PrivateKey
  /** What takes its place, while the node changes from the one to the other. */
  readonly next: PrivateKey | undefined
}

export type NodeKeys = Readonly<Record<Family, FamilyKeys | undefined>>

export interface KeyringOptions {
  readonly stateDir: string
  /** Of the key file, so that a cloned disk does not clone a key. */
  readonly binding: KeyBinding
  /** Reads the private keys of this node's devices; asked only where keys have been kept there. */
  readonly keysOfDevices: () => Promise<readonly PrivateKey[]>
  readonly log: Logger
}

type Keys = ReadonlyMap<KeyName, PrivateKey>

const NAMES: Readonly<Record<Family, KeyName>> = { 4: 'v4', 6: 'v6' }

const nextName = (family: Family): KeyName => `${NAMES[family]}.next`

/**
 * The node's private keys. On disk they are in a file; in memory they are in the agent and in the devices, where the next
 * agent finds them by the public halves on record. Whatever anybody may hear of is in one of the two before.
 */
export class Keyring {
  readonly #file: KeyFile
  readonly #record: KeyRecord
  readonly #keysOfDevices: KeyringOptions['keysOfDevices']
  readonly #log: Logger
  #storage: KeyStorage = 'disk'
  #keys: Keys | undefined
  /** Whether there may be a key file. */
  #onDisk = true
  #isForeign = false
  #isRecorded = false

  constructor({ stateDir, binding, keysOfDevices, log }: KeyringOptions) {
    this.#file = new KeyFile(join(stateDir, 'keys.json'), binding)
    this.#record = new KeyRecord(stateDir)
    this.#keysOfDevices = keysOfDevices
    this.#log = log
  }

  get keys(): NodeKeys {
    const of = (family: Family): FamilyKeys | undefined => {
      const current = this.#keys?.get(NAMES[family])
      return current && { current, next: this.#keys?.get(nextName(family)) }
    }
    return { 4: of(4), 6: of(6) }
  }

  /**
   * Finds the keys that there are, and keeps them there from now on. Of a move to memory it is `leaveDisk` that ends it.
   * @returns whether this node has ever had a key
   * @throws KeyFileError, and what asking the devices throws
   */
  async open(storage: KeyStorage): Promise<boolean> {
    this.#keys ??= await this.#load()
    if (storage !== this.#storage) {
      const before = this.#storage
      this.#storage = storage
      try {
        if (this.#keys.size > 0) await this.#save(this.#keys)
      } catch (error) {
        this.#storage = before
        throw error
      }
    }
    return this.#keys.size > 0 || this.#isRecorded
  }

  /** Makes what is missing. @throws KeyFileError */
  async create(families: readonly Family[]): Promise<void> {
    const missing = families.filter(family => !this.#keys?.has(NAMES[family]))
    if (missing.length === 0) return
    await this.#change(keys => {
      for (const family of missing) keys.set(NAMES[family], PrivateKey.generate())
    })
    if (this.#isForeign)
      this.#log.warn(
        { event: 'keys-replaced' },
        'the keys in the state directory belong to another machine or Node: made new ones',
      )
    else {
      const where = this.#storage === 'disk' ? 'in the state directory' : 'for the kernel alone'
      this.#log.info({ event: 'keys-made' }, `made new private keys ${where}`)
    }
    this.#isForeign = false
  }

  /** Makes the key that takes the place of the present one. @throws KeyFileError */
  async prepare(family: Family): Promise<void> {
    await this.#change(keys => keys.set(nextName(family), PrivateKey.generate()))
  }

  /** The next key is the present one from now on, and the one before is gone. @throws KeyFileError */
  async promote(family: Family): Promise<void> {
    await this.#change(keys => promoteIn(keys, family))
  }

  /**
   * Removes the key file that is there no more to be. To be called only while every device has the key that it is to have.
   * @throws KeyFileError
   */
  async leaveDisk(): Promise<void> {
    if (this.#storage === 'disk' || !this.#onDisk) return
    const removed = await this.#file.remove()
    this.#onDisk = false
    if (removed)
      this.#log.info({ event: 'keys-off-disk' }, 'the private keys are in the kernel alone: removed the key file')
  }

  async #change(change: (keys: Map<KeyName, PrivateKey>) => void): Promise<void> {
    const keys = new Map(this.#keys)
    change(keys)
    await this.#save(keys)
    this.#keys = keys
  }

  async #save(keys: Keys): Promise<void> {
    if (this.#storage === 'memory') {
      await this.#record.save(new Map([...keys].map(([name, key]) => [name, key.publicKey()])))
      return
    }
    this.#onDisk = true
    await this.#file.save(keys)
    await this.#record.remove()
  }

  async #load(): Promise<Keys> {
    const loaded = await this.#file.load()
    this.#isForeign = loaded.kind === 'foreign'
    const onDisk: Keys = loaded.kind === 'loaded' ? loaded.keys : new Map()
    const record = await this.#record.load()
    if (!record) return onDisk
    this.#isRecorded = true
    this.#storage = 'memory'
    // The file is still there where an agent ended while it moved them.
    const known = [...onDisk.values(), ...(await this.#keysOfDevices())]
    const byPublicKey = new Map<string, PrivateKey>(known.map(key => [key.publicKey(), key]))
    const found = new Map<KeyName, PrivateKey>()
    for (const [name, publicKey] of record) {
      const key = byPublicKey.get(publicKey)
      if (key) found.set(name, key)
    }
    for (const family of FAMILIES) if (!found.has(NAMES[family])) promoteIn(found, family)
    // A record of which nothing is left is of a boot before.
    return found.size > 0 ? found : onDisk
  }
}

function promoteIn(keys: Map<KeyName, PrivateKey>, family: Family): void {
  const next = keys.get(nextName(family))
  if (next) keys.set(NAMES[family], next)
  keys.delete(nextName(family))
}

/** /etc/machine-id; empty where the machine has none. */
export async function readMachineId(): Promise<string> {
  try {
    return (await readFile('/etc/machine-id', 'utf8')).trim()
  } catch {
    return ''
  }
}
