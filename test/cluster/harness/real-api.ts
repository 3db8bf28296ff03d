import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type ApiAccess, LabApi } from '#src/lab/api.ts'
import { LabError } from '#src/lab/errors.ts'
import { DEFAULT_SERVICE_ACCOUNT } from '#src/lab/kube-apiserver/agents.ts'
import { applyObjects } from '#src/lab/kube-apiserver/apply.ts'
import { findControlPlane } from '#src/lab/kube-apiserver/programs.ts'
import { isReady } from '#src/lab/kube-apiserver/readiness.ts'
import { KubeApiserver } from '#src/lab/kube-apiserver/server.ts'
import { forgetHistory } from './etcd.ts'

/** For `describe.skipIf`: why this machine cannot run these tests. */
export const noRealApi: string | undefined = findControlPlane()
  ? undefined
  : 'no kube-apiserver: set KUBEBUILDER_ASSETS, or run test/kube-apiserver/build'

export interface RealApiOptions {
  /** Further flags of kube-apiserver. */
  readonly flags?: readonly string[]
}

const ADDRESS = '127.0.0.1'
// No address of this machine: it is only told to others, and a loopback address is refused.
const ADVERTISED = '192.0.2.1'
const PORT_TRIES = 5

/** A kube-apiserver with etcd on a free port of the loopback, gone with all its files when disposed of, or when the test process dies. */
export class RealApi implements AsyncDisposable {
  readonly url: string
  readonly token: string
  readonly port: number
  readonly #server: KubeApiserver
  readonly #directory: string

  private constructor(directory: string, port: number, options: RealApiOptions) {
    this.#directory = directory
    this.port = port
    this.url = `https://${ADDRESS}:${port}`
    this.token = randomBytes(16).toString('hex')
    const tokenFile = join(directory, 'tokens.csv')
    writeFileSync(tokenFile, `${this.token},test-admin,test-admin,"system:masters"\n`, { mode: 0o600 })
    this.#server = new KubeApiserver({
      directory,
      bindAddress: ADDRESS,
      port,
      advertiseAddress: ADVERTISED,
      names: [ADDRESS],
      tokenFile,
      files: { record: role => join(directory, `${role}.json`), log: role => join(directory, `${role}.log`) },
      prefix: ['setpriv', '--pdeathsig', 'TERM', '--'],
      flags: options.flags ?? [],
    })
  }

  /** @throws LabError with the end of the server's log when it does not come up */
  static async start(options: RealApiOptions = {}): Promise<RealApi> {
    for (let attempt = 1; ; attempt += 1) {
      // /tmp, whatever TMPDIR says: the path of etcd's socket must be short.
      const directory = mkdtempSync(join(tmpdir().length < 40 ? tmpdir() : '/tmp', 'podveil-api.'))
      const api = new RealApi(directory, await freePort(), options)
      try {
        await api.restart()
        await applyObjects(api.client, [DEFAULT_SERVICE_ACCOUNT])
        return api
      } catch (error) {
        await api[Symbol.asyncDispose]()
        // Somebody else may take the port between our look and the server's bind.
        const taken = error instanceof LabError && /address already in use/.test(error.message)
        if (!taken || attempt === PORT_TRIES) throw error
      }
    }
  }

  /** PEM. */
  get ca(): string {
    return readFileSync(this.#server.certificateAuthority, 'utf8')
  }

  /** The administrator. */
  get client(): LabApi {
    return this.as(this.token)
  }

  /** Somebody else, by bearer token. */
  as(token: string): LabApi {
    return new LabApi(this.#access(token))
  }

  /** To stop and continue it, say. @throws LabError when it does not run */
  get pid(): number {
    const running = this.#server.process
    if (running) return running.pid
    throw new LabError('ERR_LAB_API', 'the API server does not run')
  }

  /** @param signal SIGKILL: as a crash */
  async stop(signal?: NodeJS.Signals): Promise<void> {
    await this.#server.stop(signal)
  }

  /** Starts the server again with what it had stored, after ending it where it runs. */
  async restart(signal?: NodeJS.Signals): Promise<void> {
    await this.#server.stop(signal)
    await this.#server.start(() => isReady(this.#access(this.token)))
  }

  /** As restart, with certificates of another authority: who has only `ca` of before does not believe it any more. */
  async replaceAuthority(): Promise<void> {
    await this.#server.stop('SIGKILL')
    rmSync(dirname(this.#server.certificateAuthority), { recursive: true })
    await this.restart()
  }

  /**
   * Makes etcd forget all but the latest revision, and the server the history in its cache: an older resourceVersion gets 410 from then on.
   */
  readonly compact = async (): Promise<void> => {
    await forgetHistory(this.#server.etcdSocket)
    await this.restart('SIGKILL')
  }

  /** The end of the server's log, for a message. */
  get log(): string {
    return readFileSync(join(this.#directory, 'apiserver.log'), 'utf8').slice(-4000)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What it holds is thrown away, so there is nothing to end in order.
    await this.#server.stop('SIGKILL')
    rmSync(this.#directory, { recursive: true, force: true })
  }

  #access(token: string): ApiAccess {
    return { host: ADDRESS, port: this.port, serverName: 'localhost', ca: this.ca, token }
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, ADDRESS, resolve))
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}
