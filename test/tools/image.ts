import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { nodeProgram } from '#src/lab/node-program.ts'

const ROOT = fileURLToPath(new URL('../../../..', import.meta.url))

/** What the image has of Podveil: the bundle and the program that starts it, of a version of its own. */
export class Image implements Disposable {
  readonly directory: string
  readonly version: string

  /** @param bundle directory of one that is there already, of another build of Podveil; else one is made of this checkout */
  constructor(version: string, bundle?: string) {
    this.version = version
    this.directory = mkdtempSync('/tmp/podveil-image-')
    const made = join(this.directory, 'bundle')
    // In the image's directory, which is all that its container sees.
    if (bundle === undefined) this.#make(made)
    else cpSync(bundle, made, { recursive: true })
    const program = join(this.directory, 'podveil')
    const start = `exec ${nodeProgram()} --disable-warning=ExperimentalWarning ${made}/podveil.mjs "$@"`
    writeFileSync(program, `#!/bin/sh\n${start}\n`)
    chmodSync(program, 0o755)
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true })
  }

  #make(directory: string): void {
    const script = join(ROOT, 'scripts/bundle.mjs')
    const argv = [script, '--out', directory, '--version', this.version]
    const { status, stderr } = spawnSync(nodeProgram(), argv, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`no bundle: ${stderr}`)
  }
}
