import { generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { certificatesFor } from '../apiserver/certificates.ts'
import { LabError } from '../errors.ts'
import { liveProcess, type ProcessRecord, startDetached, stopProcess } from '../processes.ts'
import { writeWhole } from '../state.ts'
import { waitUntil } from '../wait.ts'
import { type ControlPlanePrograms, needControlPlane } from './programs.ts'

export interface KubeApiserverOptions {
  /** Certificates, keys, etcd's data and its socket. At most some 80 bytes long: the path of a unix socket has 107. */
  readonly directory: string
  /** `0.0.0.0` and `::` stand for all addresses; `::` for those of IPv4 too. */
  readonly bindAddress: string
  readonly port: number
  /** What the server tells others to be its own address; no loopback address. */
  readonly advertiseAddress: string
  /** Names and addresses that the certificate is good for. */
  readonly names: readonly string[]
  /** CSV as of --token-auth-file; one of them must be of system:masters. */
  readonly tokenFile: string
  readonly files: { readonly record: (role: string) => string; readonly log: (role: string) => string }
  /** Goes before each command: `ip netns exec NAME`. */
  readonly prefix?: readonly string[]
  /** Further flags, which win over the ones here. */
  readonly flags?: readonly string[]
  readonly programs?: ControlPlanePrograms
}

/** Names the cluster in tokens and certificates. */
export const SERVICE_ACCOUNT_ISSUER = 'https://kubernetes.default.svc'

/** etcd's own API, also as JSON over HTTP (its gRPC gateway): to compact, say. @param directory of the server */
export const etcdSocketOf = (directory: string): string => join(directory, 'etcd', 'etcd.sock')

const SERVER = 'apiserver'
const ETCD = 'etcd'
const START_LIMIT_MS = 90_000
// kube-apiserver lets open requests end and then stops its hooks, some 3 s on a quiet machine.
const STOP_LIMIT_MS = 30_000

/**
 * kube-apiserver as it is released, with an etcd of its own that listens on a unix socket. RBAC is on. What was stored is there again
 * after stop() and start(), and so are certificate, tokens and the keys of service accounts.
 */
export class KubeApiserver {
  readonly #options: KubeApiserverOptions

  constructor(options: KubeApiserverOptions) {
    this.#options = options
  }

  /** Undefined when it does not run. */
  get process(): ProcessRecord | undefined {
    return liveProcess(this.#options.files.record(SERVER))
  }

  get etcdSocket(): string {
    return etcdSocketOf(this.#options.directory)
  }

  /** PEM of the authority that signed the server's certificate. */
  get certificateAuthority(): string {
    return join(this.#options.directory, 'tls', 'ca.crt')
  }

  /**
   * Starts it and waits until it is ready.
   * @param ready whether it answers its readiness check, asked by whoever can reach it
   * @throws LabError with the end of the log when it ends or takes too long; it is stopped then
   */
  async start(ready: () => Promise<boolean>): Promise<void> {
    if (this.process) return
    const { directory, files, names, prefix = [], programs = needControlPlane() } = this.#options
    await certificatesFor(names, join(directory, 'tls'))
    this.#makeServiceAccountKey()
    if (programs.etcd !== undefined) await this.#startEtcd(programs.etcd)
    const etcd =
      programs.etcd === undefined
        ? ['--etcd-dir', this.#etcdDirectory, '--']
        : [`--etcd-servers=unix://${this.etcdSocket}`]
    await startDetached([...prefix, programs.kubeApiserver, ...etcd, ...this.#flags()], {
      recordFile: files.record(SERVER),
      logFile: files.log(SERVER),
    })
    try {
      await this.#until(SERVER, ready)
    } catch (error) {
      await this.stop('SIGKILL')
      throw error
    }
  }

  /** Returns when it has ended, and its etcd with it. Not running is fine. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await stopProcess(this.#options.files.record(SERVER), signal, STOP_LIMIT_MS)
    await stopProcess(this.#options.files.record(ETCD), signal, STOP_LIMIT_MS)
  }

  get #etcdDirectory(): string {
    return join(this.#options.directory, 'etcd')
  }

  get #serviceAccountKey(): string {
    return join(this.#options.directory, 'service-accounts.key')
  }

  #flags(): string[] {
    const { bindAddress, port, advertiseAddress, tokenFile, directory, flags = [] } = this.#options
    const key = this.#serviceAccountKey
    return [
      `--bind-address=${bindAddress}`,
      `--secure-port=${port}`,
      `--advertise-address=${advertiseAddress}`,
      `--tls-cert-file=${join(directory, 'tls', 'server.crt')}`,
      `--tls-private-key-file=${join(directory, 'tls', 'server.key')}`,
      `--token-auth-file=${tokenFile}`,
      '--authorization-mode=Node,RBAC',
      '--enable-admission-plugins=NodeRestriction',
      `--service-account-issuer=${SERVICE_ACCOUNT_ISSUER}`,
      `--service-account-signing-key-file=${key}`,
      `--service-account-key-file=${key}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      // Nothing in a test asks for the Service `kubernetes`, and giving up its lease takes seconds at the end.
      '--endpoint-reconciler-type=none',
      ...flags,
    ]
  }

  /** Made once: tokens outlive a restart. */
  #makeServiceAccountKey(): void {
    if (existsSync(this.#serviceAccountKey)) return
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    writeWhole(this.#serviceAccountKey, privateKey.export({ type: 'sec1', format: 'pem' }).toString())
  }

  async #startEtcd(program: string): Promise<void> {
    const { files, prefix = [] } = this.#options
    const directory = this.#etcdDirectory
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const sockets = { client: this.etcdSocket, peer: join(directory, 'peer.sock') }
    for (const socket of Object.values(sockets)) rmSync(socket, { force: true })
    const flags = [
      `--data-dir=${join(directory, 'data')}`,
      `--listen-client-urls=unix://${sockets.client}`,
      `--listen-peer-urls=unix://${sockets.peer}`,
      // Must be host and port; nobody uses it.
      '--advertise-client-urls=http://127.0.0.1:2379',
      '--unsafe-no-fsync',
      '--log-level=error',
    ]
    await startDetached([...prefix, program, ...flags], { recordFile: files.record(ETCD), logFile: files.log(ETCD) })
    await this.#until(ETCD, async () => existsSync(sockets.client))
  }

  async #until(role: string, ready: () => Promise<boolean>): Promise<void> {
    const { record, log } = this.#options.files
    let ended = false
    await waitUntil(
      async () => {
        ended = liveProcess(record(role)) === undefined
        return ended || (await ready())
      },
      START_LIMIT_MS,
      `${role} to be ready (${log(role)})`,
    )
    if (ended) throw new LabError('ERR_LAB_API', `${role} has ended: ${lastWords(log(role))}`)
  }
}

function lastWords(logFile: string): string {
  const lines = readFileSync(logFile, 'utf8').trim().split('\n')
  return lines.findLast(line => /error|fatal|cannot|invalid/i.test(line)) ?? lines.at(-1) ?? ''
}
