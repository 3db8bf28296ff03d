import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface BundleFile {
  /** Within the archive. */
  readonly name: string
  readonly text: string
}

/**
 * Writes files into a new archive that only its owner may read.
 * @param path of the archive, `.tar.gz`; one that is there already is not written over
 * @throws Error when it cannot be written, or tar is not installed
 */
export async function writeArchive(path: string, directory: string, files: readonly BundleFile[]): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'podveil-bundle-'))
  try {
    await mkdir(join(work, directory))
    for (const { name, text } of files) await writeFile(join(work, directory, name), text, { mode: 0o600 })
    await writeFile(path, '', { mode: 0o600, flag: 'wx' })
    await tar(['-czf', path, '-C', work, directory])
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function tar(args: readonly string[]): Promise<void> {
  const child = spawn('tar', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaint = ''
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString()
  })
  const [status] = (await once(child, 'close')) as [number | null]
  if (status !== 0) throw new Error(`tar: ${complaint.trim() || `ended with ${status}`}`)
}
