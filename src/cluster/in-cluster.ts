import { readFile } from 'node:fs/promises'
import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import { type Clock, systemClock } from './clock.ts'
import { type Access, type Credentials, CredentialsError, REREAD_MS } from './credentials.ts'
import { messageOf } from './hostile.ts'

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

export interface InClusterOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Where the service account is mounted. */
  readonly directory?: string
  readonly clock?: Clock
}

/**
 * The credentials that Kubernetes gives every pod: KUBERNETES_SERVICE_HOST and _PORT, and the mounted service account.
 * Token and CA are read again after a minute, after a 401 and when the server's certificate does not hold: both are rotated
 * while the agent runs.
 * @throws CredentialsError when this is not a pod
 */
export function inClusterCredentials(options: InClusterOptions = {}): Credentials {
  const { env = process.env, directory = SERVICE_ACCOUNT, clock = systemClock } = options
  const host = env.KUBERNETES_SERVICE_HOST
  const port = env.KUBERNETES_SERVICE_PORT
  if (!host || !port)
    throw new CredentialsError('KUBERNETES_SERVICE_HOST', 'not set: this is not a pod; give --kubeconfig or KUBECONFIG')
  const server = URL.parse(`https://${isIPv6(host) ? `[${host}]` : host}:${port}`)
  if (!server || !/^\d{1,5}$/.test(port))
    throw new CredentialsError('KUBERNETES_SERVICE_HOST', 'host and port do not make a URL; give --kubeconfig instead')

  let cached: { readonly access: Access; readonly until: number } | undefined
  return {
    server,
    proxy: undefined,
    async access() {
      if (cached && clock.now() < cached.until) return cached.access
      const [token, ca] = await Promise.all([read(join(directory, 'token')), read(join(directory, 'ca.crt'))])
      const access = { headers: { authorization: `Bearer ${token}` }, tls: { ca } }
      cached = { access, until: clock.now() + REREAD_MS }
      return access
    },
    refused() {
      cached = undefined
    },
  }
}

/** Where this pod runs; what manifests/base says where this is no pod. */
export async function ownNamespace(directory = SERVICE_ACCOUNT): Promise<string> {
  const text = await readFile(join(directory, 'namespace'), 'utf8').catch(() => '')
  return text.trim() || 'podveil-system'
}

async function read(file: string): Promise<string> {
  let text: string
  try {
    text = (await readFile(file, 'utf8')).trim()
  } catch (error) {
    throw new CredentialsError(
      file,
      `cannot be read (${messageOf(error)}); is the service account mounted (automountServiceAccountToken)?`,
      { cause: error },
    )
  }
  if (text === '') throw new CredentialsError(file, 'is empty; is the service account mounted completely?')
  return text
}
