import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { nodeProgram } from '#src/lab/node-program.ts'
import { VERSION } from '#src/version.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PLACE = join(ROOT, '.cache')

/** What the image has of Podveil: the bundle and the program that starts it, of a version of its own. */
export class Image implements Disposable {
  readonly directory: string
  readonly version: string

  /** @param bundle directory of one that is there already, of another build of Podveil; else one is made of this checkout */
  constructor(version: string = VERSION, bundle?: string) {
    this.version = version
    // In the checkout, which a VM of the kernel tier sees wherever it is.
    mkdirSync(PLACE, { recursive: true })
    this.directory = mkdtempSync(join(PLACE, 'image-'))
    const made = join(this.directory, 'bundle')
    // In the image's directory, which is all that its container sees.
    if (bundle === undefined) this.#make(made)
    else cpSync(bundle, made, { recursive: true })
    const program = join(this.directory, 'podveil')
    const environment = `NODE_COMPILE_CACHE=${this.directory}/compiled PODVEIL_NODE=${nodeProgram()}`
    // A build from before there was a program beside it.
    const start = existsSync(`${made}/podveil`) ? `${made}/podveil` : `${nodeProgram()} ${made}/podveil.mjs`
    writeFileSync(program, `#!/bin/sh\n${environment} exec ${start} "$@"\n`)
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
