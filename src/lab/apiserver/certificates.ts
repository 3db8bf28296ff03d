import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { isIP } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Text in PEM. */
export interface Certificates {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** The `openssl` command is missing or failed. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError'
  readonly code = 'ERR_CERTIFICATE'
  constructor(cause: unknown) {
    super('no server certificate could be made; is the openssl command (version 3) installed?', { cause })
  }
}

/** Names by which clients inside a cluster call their API server. */
const CLUSTER_NAMES = ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc']
const DAYS = '30'

/**
 * The server's certificate, signed by a certificate authority of its own, for the names (host names and addresses). With
 * a directory, ca.crt, server.crt and server.key are kept there and used again while they hold, so that kubeconfigs
 * survive a restart. The authority's key is never kept. Throws CertificateError.
 */
export async function certificatesFor(names: readonly string[], directory?: string): Promise<Certificates> {
  const wanted = [...new Set([...CLUSTER_NAMES, ...names])]
  const kept = directory === undefined ? undefined : await read(directory)
  if (kept !== undefined && holds(kept.cert, wanted)) return kept
  return directory === undefined ? withTemporary(workshop => make(workshop, wanted)) : renew(directory, wanted)
}

async function renew(directory: string, names: readonly string[]): Promise<Certificates> {
  await mkdir(directory, { recursive: true })
  return withTemporary(async workshop => {
    const made = await make(workshop, names)
    // The certificate comes last: until then, what is in the directory does not fit together and is made anew.
    for (const file of ['ca.crt', 'server.key', 'server.crt']) await rename(join(workshop, file), join(directory, file))
    return made
  }, directory)
}

async function withTemporary<T>(use: (workshop: string) => Promise<T>, parent = tmpdir()): Promise<T> {
  const workshop = await mkdtemp(join(parent, '.certificates-'))
  try {
    return await use(workshop)
  } finally {
    await rm(workshop, { recursive: true, force: true })
  }
}

async function make(workshop: string, names: readonly string[]): Promise<Certificates> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-days', DAYS]
  const openssl = (...more: string[]) => run('openssl', ['req', '-x509', ...key, ...more], { cwd: workshop })
  const subject = names.map(name => (isIP(name) === 0 ? `DNS:${name}` : `IP:${name}`)).join(',')
  try {
    const authority = ['-subj', '/CN=podveil-lab-ca', '-addext', 'keyUsage=critical,keyCertSign,cRLSign']
    await openssl('-keyout', 'ca.key', '-out', 'ca.crt', ...authority)
    const use = ['-addext', 'basicConstraints=critical,CA:FALSE', '-addext', 'extendedKeyUsage=serverAuth']
    const names = ['-subj', '/CN=kube-apiserver', '-addext', `subjectAltName=${subject}`, ...use]
    await openssl('-CA', 'ca.crt', '-CAkey', 'ca.key', '-keyout', 'server.key', '-out', 'server.crt', ...names)
  } catch (error) {
    throw new CertificateError(error)
  }
  const made = await read(workshop)
  if (made === undefined) throw new CertificateError(new Error('openssl wrote no files'))
  return made
}

async function read(directory: string): Promise<Certificates | undefined> {
  try {
    const [ca, cert, key] = await Promise.all(
      ['ca.crt', 'server.crt', 'server.key'].map(file => readFile(join(directory, file), 'utf8')),
    )
    if (ca === undefined || cert === undefined || key === undefined) return undefined
    return new X509Certificate(cert).checkIssued(new X509Certificate(ca)) ? { ca, cert, key } : undefined
  } catch {
    return undefined
  }
}

/** Whether the certificate is for all those names and good for a day at least. */
function holds(cert: string, names: readonly string[]): boolean {
  const certificate = new X509Certificate(cert)
  const dayFromNow = Date.now() + 24 * 3600 * 1000
  const covers = (name: string): boolean => {
    return (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined
  }
  return certificate.validToDate.getTime() > dayFromNow && names.every(covers)
}
