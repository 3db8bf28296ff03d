import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Replaces a file of the state directory as a whole, 0600: whoever reads it sees the old or the new, also after the power
 * was cut. Some file systems have an empty one then, where it was not on disk before it got its name.
 */
export async function replaceStateFile(path: string, text: string): Promise<void> {
  await using handle = await writeBeside(path, text)
  await handle.sync()
  await rename(beside(path), path)
  await using directory = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
  await directory.sync()
}

/**
 * The same for what is made anew again and again, and is worth no wait for the disk.
 * @param text or the pieces of one that is long
 */
export async function replaceReport(path: string, text: string | readonly Uint8Array[]): Promise<void> {
  await using _ = await writeBeside(path, text)
  await rename(beside(path), path)
}

async function writeBeside(path: string, text: string | readonly Uint8Array[]): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  // Whatever is in its place, be it a link, is not written through.
  await rm(beside(path), { force: true })
  const handle = await open(beside(path), 'wx', 0o600)
  try {
    await handle.writeFile(text)
    return handle
  } catch (error) {
    await handle.close()
    throw error
  }
}

const beside = (path: string): string => `${path}.tmp`

/** @returns undefined where there is no such file */
export async function readStateFile(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
