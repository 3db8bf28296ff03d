import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { KeyFileError } from './errors.ts'
import {
  formatKeyFile,
  type KeyBinding,
  type KeyFileContents,
  KeyFileFormatError,
  type KeyName,
  parseKeyFile,
} from './key-file-format.ts'
import type { PrivateKey } from './private-key.ts'

/** Sixteen keys need less than two kilobytes. */
const MAX_BYTES = 16_384
const OTHERS = 0o077
const OTHERS_WRITE = 0o022

export type LoadedKeys =
  | { readonly kind: 'loaded'; readonly keys: ReadonlyMap<KeyName, PrivateKey> }
  | { readonly kind: 'absent' }
  /** Intact, but made on another machine or for another Node object: a cloned disk, a restored backup, a Node made anew. */
  | { readonly kind: 'foreign'; readonly differs: 'machine' | 'node' | 'both' }

/**
 * The node's private keys on disk, bound to its machine and its Node object. The file is 0600 in a directory that nobody
 * else can write to; it is replaced as a whole and never written in place. What is damaged or open to others is refused
 * and never overwritten: the person who finds out why decides.
 */
export class KeyFile {
  readonly #path: string
  readonly #binding: KeyBinding

  /** @param path absolute; its directory is made with 0700 when it is missing */
  constructor(path: string, binding: KeyBinding) {
    this.#path = path
    this.#binding = binding
  }

  /** @throws KeyFileError when the file is damaged, open to others, not the agent's own or cannot be read */
  async load(): Promise<LoadedKeys> {
    const contents = await this.#read()
    if (!contents) return { kind: 'absent' }
    const machine = contents.binding.machineId !== this.#binding.machineId
    const node = contents.binding.nodeUid !== this.#binding.nodeUid
    if (machine || node) return { kind: 'foreign', differs: machine && node ? 'both' : machine ? 'machine' : 'node' }
    return { kind: 'loaded', keys: contents.keys }
  }

  /**
   * Replaces all keys, atomically and durably. A file bound to another machine or Node is replaced: its keys are theirs.
   * @throws KeyFileError as `load` does, before anything is written, and when writing fails
   */
  async save(keys: ReadonlyMap<KeyName, PrivateKey>): Promise<void> {
    const text = formatKeyFile({ binding: this.#binding, keys })
    await this.#read()
    await this.#attempt('cannot write it', async () => {
      const directory = dirname(this.#path)
      await mkdir(directory, { recursive: true, mode: 0o700 })
      this.#checkDirectory(await stat(directory))
      await this.#sweep(directory)
      await this.#replace(directory, text)
    })
  }

  /**
   * Removes the file, durably, and what a crash has left of others. Its bytes are not overwritten: they stay on the medium
   * until something else is written there.
   * @returns whether there was one
   * @throws KeyFileError as `load` does, before anything is removed, and when removing fails
   */
  async remove(): Promise<boolean> {
    const found = (await this.#read()) !== undefined
    await this.#attempt('cannot remove it', async () => {
      const directory = dirname(this.#path)
      await this.#sweep(directory)
      await rm(this.#path, { force: true })
      await syncDirectory(directory)
    })
    return found
  }

  async #read(): Promise<KeyFileContents | undefined> {
    return await this.#attempt('cannot read it', async () => {
      const handle = await this.#open()
      if (!handle) return undefined
      try {
        this.#checkDirectory(await stat(dirname(this.#path)))
        this.#checkFile(await handle.stat())
        return this.#parse(await readBounded(handle))
      } finally {
        await handle.close()
      }
    })
  }

  async #open(): Promise<FileHandle | undefined> {
    try {
      // O_NONBLOCK so that a FIFO in its place cannot hold the agent up.
      return await open(this.#path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ENOENT') return undefined
      if (code === 'ELOOP')
        throw new KeyFileError(
          'insecure',
          this.#path,
          'is a symbolic link: put the file itself here, or remove the link',
        )
      throw error
    }
  }

  #checkDirectory(stats: Stats): void {
    const directory = dirname(this.#path)
    if (!ours(stats))
      throw this.#insecure(`is in a directory that belongs to uid ${stats.uid}: run "chown ${uid()} ${directory}"`)
    if ((stats.mode & OTHERS_WRITE) !== 0)
      throw this.#insecure(
        `is in a directory that others can write to (mode ${octal(stats)}): run "chmod 0700 ${directory}"`,
      )
  }

  #checkFile(stats: Stats): void {
    if (!stats.isFile()) throw this.#damaged('not a regular file')
    if (!ours(stats)) throw this.#insecure(`belongs to uid ${stats.uid}: run "chown ${uid()} ${this.#path}"`)
    if ((stats.mode & OTHERS) !== 0)
      throw this.#insecure(
        `is open to group or others (mode ${octal(stats)}): run "chmod 0600 ${this.#path}", or delete the file for new keys if somebody may have read it`,
      )
    if (stats.size > MAX_BYTES) throw this.#damaged(`${stats.size} bytes long`)
  }

  #parse(bytes: Buffer): KeyFileContents {
    try {
      return parseKeyFile(bytes.toString('utf8'))
    } catch (error) {
      if (error instanceof KeyFileFormatError) throw this.#damaged(error.message)
      throw error
    } finally {
      bytes.fill(0)
    }
  }

  async #replace(directory: string, text: string): Promise<void> {
    const temporary = join(directory, `${this.#temporaryPrefix()}${randomBytes(8).toString('hex')}`)
    try {
      const handle = await open(temporary, 'wx', 0o600)
      try {
        await handle.writeFile(text)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(temporary, this.#path)
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    }
    await syncDirectory(directory)
  }

  /** Takes away what a crash between writing and renaming has left: keys that nobody uses. */
  async #sweep(directory: string): Promise<void> {
    for (const name of await readdir(directory))
      if (name.startsWith(this.#temporaryPrefix())) await rm(join(directory, name), { force: true })
  }

  #temporaryPrefix(): string {
    return `.${basename(this.#path)}.tmp-`
  }

  async #attempt<Result>(what: string, action: () => Promise<Result>): Promise<Result> {
    try {
      return await action()
    } catch (error) {
      if (error instanceof KeyFileError) throw error
      const reason = errorCode(error) ?? 'unknown error'
      throw new KeyFileError(
        'inaccessible',
        this.#path,
        `${what} (${reason}): the agent needs its state directory, as root, on a file system with room`,
        { cause: error },
      )
    }
  }

  #insecure(message: string): KeyFileError {
    return new KeyFileError('insecure', this.#path, message)
  }

  #damaged(what: string): KeyFileError {
    return new KeyFileError(
      'damaged',
      this.#path,
      `is not a key file (${what}): restore it from a backup, or delete it and the agent makes new keys`,
    )
  }
}

/** A name that is new or gone is so durably only when its directory is. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Never more than the limit, however the file grows meanwhile. */
async function readBounded(handle: FileHandle): Promise<Buffer> {
  const buffer = Buffer.alloc(MAX_BYTES)
  let length = 0
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return buffer.subarray(0, length)
}

const uid = (): number => process.geteuid?.() ?? 0
const ours = (stats: Stats): boolean => stats.uid === uid()
const octal = (stats: Stats): string => (stats.mode & 0o7777).toString(8).padStart(4, '0')

const errorCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
