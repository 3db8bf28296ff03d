import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A directory of its own, removed at the end. */
export class Scratch implements AsyncDisposable {
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  static async make(): Promise<Scratch> {
    return new Scratch(await mkdtemp(join(tmpdir(), 'podveil-cluster-')))
  }

  /** @returns the file's path */
  async write(name: string, text: string, mode = 0o600): Promise<string> {
    const file = join(this.path, name)
    await writeFile(file, text, { mode })
    return file
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true })
  }
}
