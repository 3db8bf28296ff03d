import { execFile, spawn } from 'node:child_process'
import { accessSync, constants, readdirSync, realpathSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { ApiServer } from '#src/lab/apiserver/api-server.ts'
import { TemporaryDirectory, TOKEN } from './fixtures.ts'

/** kubectl as PATH has it, and the oldest and newest of the versions that lie beside it (`kubectl.1.27`). */
export function installedKubectls(): readonly string[] {
  const onPath = (process.env.PATH ?? '')
    .split(delimiter)
    .map(directory => join(directory, 'kubectl'))
    .find(isExecutable)
  if (onPath === undefined) return []
  const directory = dirname(realpathSync(onPath))
  const versions = readdirSync(directory).filter(file => /^kubectl\.1\.\d+$/.test(file))
  const ordered = versions.toSorted((a, b) => Number(a.split('.')[2]) - Number(b.split('.')[2]))
  const ends = [ordered[0], ordered.at(-1)].flatMap(file => (file === undefined ? [] : join(directory, file)))
  return [...new Set(ends.length > 0 ? ends : [onPath])]
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** One kubectl and one server, with a kubeconfig and caches of their own. */
export class Kubectl implements Disposable {
  readonly #binary: string
  readonly #home = new TemporaryDirectory()

  constructor(binary: string, server: ApiServer) {
    this.#binary = binary
    writeFileSync(this.#home.file('ca.crt'), server.ca)
    const cluster = { server: server.url, 'certificate-authority': this.#home.file('ca.crt') }
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'lab',
      clusters: [{ name: 'lab', cluster }],
      users: [{ name: 'lab', user: { token: TOKEN } }],
      contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'lab' } }],
    }
    writeFileSync(this.#home.file('kubeconfig'), JSON.stringify(config))
  }

  /** Runs it to its end; `input` goes to its stdin. */
  run(args: readonly string[], input = '', environment: Record<string, string> = {}): Promise<Outcome> {
    return new Promise(resolve => {
      const options = { env: { ...this.#environment, ...environment }, timeout: 60_000 }
      const child = execFile(this.#binary, args, options, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr })
      })
      child.stdin?.end(input)
    })
  }

  /** Runs it until it has printed a line that passes the test; returns the lines. */
  async linesUntil(args: readonly string[], passes: (line: string) => boolean, onLine: (line: string) => void) {
    const child = spawn(this.#binary, args, {
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 60_000,
    })
    const lines: string[] = []
    try {
      for await (const line of createInterface({ input: child.stdout })) {
        lines.push(line)
        onLine(line)
        if (passes(line)) break
      }
    } finally {
      child.kill()
    }
    return lines
  }

  [Symbol.dispose](): void {
    this.#home[Symbol.dispose]()
  }

  get #environment(): Record<string, string> {
    return { PATH: process.env.PATH ?? '', HOME: this.#home.path, KUBECONFIG: this.#home.file('kubeconfig') }
  }
}
