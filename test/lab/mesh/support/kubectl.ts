import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Lab } from '#src/lab/lab.ts'
import { must } from '#src/lab/run.ts'

/** kubectl as the operator of a lab, with a cache of its own. */
export class Kubectl implements Disposable {
  readonly #lab: Lab
  readonly #cache = mkdtempSync(join(tmpdir(), 'podveil-kubectl-'))

  constructor(lab: Lab) {
    this.#lab = lab
  }

  /** @returns what it printed @throws LabError unless it ended with 0 */
  run(...args: readonly string[]): Promise<string> {
    return must(this.#command(args))
  }

  /** `get -w` and the like: the lines that it prints while something is done, up to the first that passes. */
  async watch(
    args: readonly string[],
    work: () => Promise<void>,
    passes: (line: string) => boolean,
  ): Promise<string[]> {
    const [program = '', ...rest] = this.#command(args)
    const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'], timeout: 60_000 })
    const lines: string[] = []
    let begun: Promise<void> | undefined
    try {
      for await (const line of createInterface({ input: child.stdout })) {
        lines.push(line)
        // Once it has shown what there is, it watches.
        begun ??= work()
        if (passes(line)) break
      }
      await begun
      return lines
    } finally {
      child.kill()
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#cache, { recursive: true, force: true })
  }

  #command(args: readonly string[]): string[] {
    return ['kubectl', '--kubeconfig', this.#lab.kubeconfig, '--cache-dir', this.#cache, ...args]
  }
}
