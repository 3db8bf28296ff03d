/** TLS material as node:tls takes it, PEM text. */
export interface TlsMaterial {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  readonly passphrase?: string
  /** Name to ask for and to check, where the URL's host is not it. */
  readonly servername?: string
  /** False only where a kubeconfig says insecure-skip-tls-verify. */
  readonly rejectUnauthorized?: boolean
}

/** What one request needs to be let in. */
export interface Access {
  readonly headers: Readonly<Record<string, string>>
  readonly tls: TlsMaterial
}

/** Where the API server is and how to be let in, wherever that comes from. */
export interface Credentials {
  /** May carry a path, which then goes before every request's. */
  readonly server: URL
  /** URL of an HTTP proxy, where connections go through one. */
  readonly proxy: string | undefined
  /** Fresh within a minute. @throws CredentialsError */
  access(): Promise<Access>
  /** The server said 401, or a certificate did not hold: whatever is cached is read anew next time. */
  refused(): void
}

/** Credentials are kept so long without looking at their source again: a projected token is rotated well before it ends. */
export const REREAD_MS = 60_000

/** No usable credentials. The message names the file and says what to do; it never contains what the file holds. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError'
  readonly code = 'ERR_KUBERNETES_CREDENTIALS'
  /** File or variable that it is about. */
  readonly source: string
  constructor(source: string, message: string, options?: ErrorOptions) {
    super(`${source}: ${message}`, options)
    this.source = source
  }
}
