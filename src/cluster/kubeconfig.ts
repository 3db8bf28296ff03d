import { readFile } from 'node:fs/promises'
import type { RequestOptions } from 'node:https'
import { delimiter, dirname, resolve } from 'node:path'
import { KubeConfig } from '@kubernetes/client-node'
import { parse } from 'yaml'
import { type Clock, systemClock } from './clock.ts'
import { type Access, type Credentials, CredentialsError, REREAD_MS, type TlsMaterial } from './credentials.ts'
import { isObject, listOf, member, messageOf, objectOf, textOf } from './hostile.ts'

/** An exec plugin may wait for a person who logs in; one that waits for ever must not hang the agent. */
const LOGIN_MS = 120_000

export interface KubeconfigOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly clock?: Clock
}

/**
 * Credentials of a kubeconfig's current context: certificates, tokens, exec plugins, OIDC and the rest of what the
 * Kubernetes client library knows. Files that it names are read again after a minute; after a 401, and when a
 * certificate does not hold, so is the kubeconfig.
 * @param paths one file, or several as KUBECONFIG has them, where the first to name a thing wins
 * @throws CredentialsError naming the file and what to do about it
 */
export async function kubeconfigCredentials(paths: string, options: KubeconfigOptions = {}): Promise<Credentials> {
  const { env = process.env, clock = systemClock } = options
  let loaded: Loaded | undefined = await load(paths)
  const { server, proxy } = loaded
  let cached: { readonly access: Access; readonly until: number } | undefined
  return {
    server,
    proxy: proxy ?? proxyFromEnvironment(server, env),
    async access() {
      if (cached && clock.now() < cached.until) return cached.access
      loaded ??= await load(paths)
      const access = await loginWithin(loaded, clock)
      cached = { access, until: clock.now() + REREAD_MS }
      return access
    },
    refused() {
      cached = undefined
      loaded = undefined
    },
  }
}

interface Loaded {
  readonly config: KubeConfig
  readonly source: string
  readonly server: URL
  readonly proxy: string | undefined
  /** `tokenFile` of the user, which the library does not know. */
  readonly tokenFile: string | undefined
}

async function load(paths: string): Promise<Loaded> {
  const files = paths.split(delimiter).filter(file => file !== '')
  const merged = new KubeConfig()
  const tokenFiles = new Map<string, string>()
  let found = 0
  for (const file of files) {
    const text = await read(file, files.length > 1)
    if (text === undefined) continue
    found++
    merge(merged, parseFile(file, text))
    for (const [user, tokenFile] of tokenFilesOf(file, text)) if (!tokenFiles.has(user)) tokenFiles.set(user, tokenFile)
  }
  if (found === 0) throw new CredentialsError(paths, 'no such kubeconfig; give --kubeconfig or set KUBECONFIG')

  const context = merged.getContextObject(merged.getCurrentContext())
  if (!context)
    throw new CredentialsError(
      paths,
      merged.getCurrentContext()
        ? `current-context is ${JSON.stringify(merged.getCurrentContext())}, and there is no such context; see kubectl config get-contexts`
        : 'has no current-context; set one with kubectl config use-context NAME',
    )
  const cluster = merged.getCluster(context.cluster)
  if (!cluster)
    throw new CredentialsError(paths, `its current context names cluster "${context.cluster}", which it lacks`)
  if (context.user && !merged.getUser(context.user))
    throw new CredentialsError(paths, `its current context names user "${context.user}", which it lacks`)
  const server = URL.parse(cluster.server)
  if (!server || !/^https?:$/.test(server.protocol))
    throw new CredentialsError(paths, `the server of cluster "${cluster.name}" is not an http or https URL`)
  if (cluster.proxyUrl && !/^https?:/.test(cluster.proxyUrl))
    throw new CredentialsError(paths, `the proxy-url of cluster "${cluster.name}" is not http or https`)
  return {
    config: merged,
    source: paths,
    server,
    proxy: cluster.proxyUrl,
    tokenFile: tokenFiles.get(context.user),
  }
}

/** @returns undefined for one of several that is missing, which is no fault: KUBECONFIG may name files to be made */
async function read(file: string, oneOfSeveral: boolean): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if (oneOfSeveral && isObject(error) && error.code === 'ENOENT') return undefined
    throw new CredentialsError(file, `cannot be read (${messageOf(error)}); give --kubeconfig or set KUBECONFIG`, {
      cause: error,
    })
  }
}

function parseFile(file: string, text: string): KubeConfig {
  const config = new KubeConfig()
  try {
    if (!isObject(parse(text))) throw new TypeError('it is not a mapping')
    config.loadFromString(text)
    config.makePathsAbsolute(dirname(file))
  } catch (error) {
    // A YAML error quotes the line that it stumbles over, and that line may be a token.
    const where = error instanceof Error ? (/at line \d+/.exec(error.message)?.[0] ?? '') : ''
    const what = error instanceof Error && error.name === 'Error' ? error.message : where
    throw new CredentialsError(file, `is not a kubeconfig${what && ` (${what})`}; check it with kubectl config view`)
  }
  return config
}

function tokenFilesOf(file: string, text: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const entry of listOf(member(objectOf(parse(text)), 'users')).map(objectOf)) {
    const name = textOf(entry.name, 1024)
    const tokenFile = textOf(objectOf(entry.user).tokenFile, 4096)
    if (name !== undefined && tokenFile) found.set(name, resolve(dirname(file), tokenFile))
  }
  return found
}

/** As kubectl merges: of things with one name, and of current contexts, the first counts. */
function merge(into: KubeConfig, from: KubeConfig): void {
  for (const cluster of from.getClusters()) if (!into.getCluster(cluster.name)) into.addCluster(cluster)
  for (const user of from.getUsers()) if (!into.getUser(user.name)) into.addUser(user)
  for (const context of from.getContexts()) if (!into.getContextObject(context.name)) into.addContext(context)
  if (!into.getCurrentContext() && from.getCurrentContext()) into.setCurrentContext(from.getCurrentContext())
}

async function loginWithin(loaded: Loaded, clock: Clock): Promise<Access> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const cancel = clock.after(LOGIN_MS, () =>
    reject(new CredentialsError(loaded.source, 'its login helper does not answer; run kubectl get nodes to see why')),
  )
  try {
    return await Promise.race([login(loaded), late])
  } finally {
    cancel()
  }
}

async function login({ config, source, tokenFile }: Loaded): Promise<Access> {
  const options: RequestOptions = {}
  let token: string | undefined
  try {
    await config.applyToHTTPSOptions(options)
    token = tokenFile === undefined ? undefined : (await readFile(tokenFile, 'utf8')).trim()
  } catch (error) {
    // What a login helper prints on its way out may hold a token: only failures of files are told in full.
    const file = isObject(error) && typeof error.path === 'string' ? messageOf(error) : 'its login helper failed'
    throw new CredentialsError(source, `no credentials: ${file}; run kubectl get nodes to see why`, { cause: error })
  }
  // The library leaves out the CA of a cluster whose context has no user.
  const cluster = config.getCurrentCluster()
  const ca = options.ca ?? (await certificateAuthority(source, cluster?.caFile, cluster?.caData))
  const tls: TlsMaterial = {
    ...pem('ca', ca),
    ...pem('cert', options.cert),
    ...pem('key', options.key),
    ...(options.passphrase === undefined ? {} : { passphrase: options.passphrase }),
    ...(cluster?.tlsServerName ? { servername: cluster.tlsServerName } : {}),
    ...(cluster?.skipTLSVerify ? { rejectUnauthorized: false } : {}),
  }
  const headers: Record<string, string> = {}
  if (typeof options.auth === 'string') headers.authorization = `Basic ${Buffer.from(options.auth).toString('base64')}`
  for (const [name, value] of Object.entries(objectOf(options.headers)))
    if (typeof value === 'string') headers[name.toLowerCase()] = value.trim()
  if (token) headers.authorization = `Bearer ${token}`
  return { headers, tls }
}

async function certificateAuthority(
  source: string,
  file?: string,
  data?: string,
): Promise<string | Buffer | undefined> {
  if (!file) return data ? Buffer.from(data, 'base64') : undefined
  try {
    return await readFile(file)
  } catch (error) {
    throw new CredentialsError(source, `its certificate-authority cannot be read (${messageOf(error)})`, {
      cause: error,
    })
  }
}

const pem = (name: 'ca' | 'cert' | 'key', value: unknown): TlsMaterial =>
  typeof value === 'string' || Buffer.isBuffer(value) ? { [name]: value.toString() } : {}

function proxyFromEnvironment(server: URL, env: Readonly<Record<string, string | undefined>>): string | undefined {
  const proxy = server.protocol === 'https:' ? (env.HTTPS_PROXY ?? env.https_proxy) : (env.HTTP_PROXY ?? env.http_proxy)
  const exempt = (env.NO_PROXY ?? env.no_proxy ?? '').split(',').map(entry => entry.trim().replace(/^\*?\./, ''))
  const direct = exempt.some(
    e => e === '*' || (e !== '' && (server.hostname === e || server.hostname.endsWith(`.${e}`))),
  )
  return direct || !proxy ? undefined : proxy
}
