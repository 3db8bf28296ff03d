import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { AGENT_NAMESPACE, AGENT_SERVICE_ACCOUNT } from '#src/lab/kube-apiserver/agents.ts'
import type { Scratch } from '../../unit/cluster/support/scratch.ts'

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-days', '2']
const USER = `system:serviceaccount:${AGENT_NAMESPACE}:${AGENT_SERVICE_ACCOUNT}`

let made = 0

/** Whom an API server believes of client certificates, and one certificate for the agents' account. */
export class ClientAuthority {
  /** For --client-ca-file. */
  readonly believed: string
  readonly #disk: string
  readonly #workshop: string

  private constructor(disk: string, workshop: string) {
    this.#disk = disk
    this.#workshop = workshop
    this.believed = join(disk, 'clients-ca.crt')
  }

  /** Makes one and has the server believe it, in place of the one before. The first one's certificate is given at once. */
  static make({ path: disk }: Scratch): ClientAuthority {
    const workshop = join(disk, `authority-${made++}`)
    mkdirSync(workshop)
    const openssl = (...more: string[]) =>
      execFileSync('openssl', ['req', '-x509', ...KEY, ...more], { cwd: workshop, stdio: 'pipe' })
    const authority = ['-subj', `/CN=clients-${made}`, '-addext', 'keyUsage=critical,keyCertSign,cRLSign']
    openssl('-keyout', 'ca.key', '-out', 'ca.crt', ...authority)
    const use = ['-addext', 'basicConstraints=critical,CA:FALSE', '-addext', 'extendedKeyUsage=clientAuth']
    openssl(
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-keyout',
      'client.key',
      '-out',
      'client.crt',
      '-subj',
      `/CN=${USER}`,
      ...use,
    )
    const one = new ClientAuthority(disk, workshop)
    copyFileSync(join(workshop, 'ca.crt'), one.believed)
    if (!existsSync(join(disk, 'client.crt'))) one.give()
    return one
  }

  /** Puts certificate and key where the agent reads them, each in one step. */
  give(): void {
    for (const file of ['client.key', 'client.crt']) renameSync(join(this.#workshop, file), join(this.#disk, file))
  }
}
