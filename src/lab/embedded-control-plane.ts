import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { formatEndpoint } from '#wg/ip.ts'
import type { ControlPlane } from './control-plane.ts'
import { LabError } from './errors.ts'
import { inNamespace } from './namespaces.ts'
import { nodeProgram } from './node-program.ts'
import { API_PORT, type LabPlan } from './plan.ts'
import { liveProcess, type ProcessRecord, startDetached, stopProcess } from './processes.ts'
import type { LabFiles } from './state.ts'
import { waitUntil } from './wait.ts'

const PROGRAM = fileURLToPath(new URL('./apiserver/main.ts', import.meta.url))
const CRDS = fileURLToPath(new URL('../../manifests/crds', import.meta.url))
/** Emulated machines are slow; a server that has ended is noticed at once. */
const START_LIMIT_MS = 60_000

/** Podveil's own API server, which serves just what a mesh needs. */
export class EmbeddedControlPlane implements ControlPlane {
  readonly kind = 'embedded'
  readonly #plan: LabPlan
  readonly #files: LabFiles

  constructor(plan: LabPlan, files: LabFiles) {
    this.#plan = plan
    this.#files = files
  }

  get process(): ProcessRecord | undefined {
    return liveProcess(this.#files.process('apiserver'))
  }

  async start(): Promise<void> {
    if (this.process) return
    const files = this.#files
    const readyFile = `${files.apiserver}/ready.json`
    const addresses = this.#plan.switchAddresses.map(address => formatEndpoint({ address, port: API_PORT }))
    await startDetached(
      inNamespace(this.#plan.switchNamespace, [
        nodeProgram(),
        PROGRAM,
        ...addresses.flatMap(address => ['--listen', address]),
        ...['--unix', files.apiSocket],
        ...['--admin-socket', files.apiAdminSocket],
        ...['--data-dir', `${files.apiserver}/data`],
        ...['--token-file', files.apiTokens],
        ...['--tls-dir', `${files.apiserver}/tls`],
        ...['--crds', CRDS],
      ]),
      { recordFile: files.process('apiserver'), logFile: files.log('apiserver'), stdoutFile: readyFile },
    )
    const outcome = await waitUntil(
      () => {
        if (!this.process) return 'ended'
        return readFileSync(readyFile, 'utf8').includes('\n') && 'ready'
      },
      START_LIMIT_MS,
      `the API server to be ready (${files.log('apiserver')})`,
    )
    if (outcome === 'ended') throw new LabError('ERR_LAB_API', `the API server has ended: ${this.#lastWords()}`)
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await stopProcess(this.#files.process('apiserver'), signal)
  }

  #lastWords(): string {
    const lines = readFileSync(this.#files.log('apiserver'), 'utf8').trim().split('\n')
    // Node.js prints the stack below the message and a version line last.
    return lines.findLast(line => /error/i.test(line)) ?? lines.at(-1) ?? ''
  }
}
