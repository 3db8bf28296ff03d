import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { KeyName } from '#keys/key-file-format.ts'
import type { PublicKey } from '#keys/public-key.ts'
import { isObject, textOf } from '#src/cluster/hostile.ts'
import { readStateFile, replaceStateFile } from './state-file.ts'

const FILE = 'kernel-keys.json'
const LONGEST = 64

export const keyRecordPath = (stateDir: string): string => join(stateDir, FILE)

/**
 * Public halves of the keys that the kernel's devices keep for us: what a device has is ours if its public key is here, and
 * not whatever else may have been put there. There is a record while keys are kept in memory.
 */
export class KeyRecord {
  readonly #path: string

  constructor(stateDir: string) {
    this.#path = keyRecordPath(stateDir)
  }

  /** @returns undefined where there is none, or what is there is none @throws what reading a file throws, but for its absence */
  async load(): Promise<ReadonlyMap<KeyName, string> | undefined> {
    const raw = parseJson((await readStateFile(this.#path)) ?? '')
    if (!isObject(raw)) return undefined
    const keys = Object.entries(raw).map(([name, key]) => [name, textOf(key, LONGEST)] as const)
    return new Map(keys.filter((entry): entry is [KeyName, string] => entry[1] !== undefined))
  }

  /** @throws what writing a file throws */
  async save(keys: ReadonlyMap<KeyName, PublicKey>): Promise<void> {
    await replaceStateFile(this.#path, `${JSON.stringify(Object.fromEntries(keys))}\n`)
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true })
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
