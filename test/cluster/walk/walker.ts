import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Lab } from '#src/lab/lab.ts'
import { run } from '#src/lab/run.ts'
import type { Step } from './steps.ts'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const LIMIT_MS = 60_000

export interface Took {
  readonly step: Step
  /** Both outputs of the last run. */
  readonly output: string
  readonly status: number
  readonly seconds: number
}

/** Somebody at a shell in the checkout, with a kubeconfig of the lab and `podveil` in the path. */
export class Walker implements Disposable {
  readonly #lab: Lab
  readonly #directory = mkdtempSync(join(tmpdir(), 'podveil-walk-'))

  constructor(lab: Lab) {
    this.#lab = lab
    mkdirSync(join(this.#directory, 'bin'))
    this.#program('kubectl', `PATH=\${PATH#*:} exec kubectl --cache-dir '${this.#directory}/cache' "$@"`)
  }

  /** Runs the step, again and again until it prints what it must. */
  async take(step: Step): Promise<Took> {
    const started = performance.now()
    for (;;) {
      const took = await this.once(step)
      const elapsed = performance.now() - started
      if (isDone(took) || step.once || elapsed > LIMIT_MS) return { ...took, seconds: Math.round(elapsed / 100) / 10 }
      await delay(500)
    }
  }

  /** Runs it once. */
  async once(step: Step): Promise<Took> {
    const started = performance.now()
    const { status, stdout, stderr } = await run(this.#shell(step.run), { timeoutMs: 2 * LIMIT_MS })
    const output = `${stdout}${stderr}`.replaceAll(this.#lab.name, 'walk')
    return { step, output, status, seconds: Math.round((performance.now() - started) / 100) / 10 }
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true })
  }

  #shell(script: string): string[] {
    const path = [join(this.#directory, 'bin'), join(ROOT, 'bin'), process.env.PATH ?? ''].join(delimiter)
    const environment = [`PATH=${path}`, `KUBECONFIG=${this.#lab.kubeconfig}`, `LAB=${this.#lab.name}`]
    return ['env', '--chdir', ROOT, ...environment, 'bash', '-c', script]
  }

  #program(name: string, script: string): void {
    const file = join(this.#directory, 'bin', name)
    writeFileSync(file, `#!/bin/sh\n${script}\n`)
    chmodSync(file, 0o755)
  }
}

export const isDone = ({ step, status, output }: Took): boolean =>
  status === (step.status ?? 0) && (step.shows === undefined || step.shows.test(output))
