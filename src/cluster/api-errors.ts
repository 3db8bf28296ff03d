import { clip, member, messageOf, objectOf, textOf } from './hostile.ts'

/** The longest that a server may ask us to wait: what it says is not trusted to stop the mesh for a day. */
const LONGEST_RETRY_AFTER = 300

/** The API server answered, and the answer is no. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly code = 'ERR_KUBERNETES_API'
  /** HTTP status, or that of a Status object inside a watch. */
  readonly status: number
  /** `reason` of the Status object (`NotFound`, `Expired`, …); empty where there was none. */
  readonly reason: string
  /** Seconds that the server asks us to wait. */
  readonly retryAfter: number | undefined
  /** What was asked: method and path. */
  readonly what: string

  constructor(what: string, status: number, reason: string, message: string, retryAfter?: number) {
    super(`${what}: ${clip(message, 500) || 'refused'} (${[status, reason].filter(Boolean).join(' ')})`)
    this.what = what
    this.status = status
    this.reason = reason
    this.retryAfter = retryAfter
  }

  /** The resourceVersion or the continue token is too old: only a fresh list helps. */
  get expired(): boolean {
    return this.status === 410 || this.reason === 'Expired' || this.reason === 'Gone'
  }
}

/** There was no whole answer: connection refused, lost, too slow, or the answer is not what the protocol says. */
export class ApiUnreachableError extends Error {
  override readonly name = 'ApiUnreachableError'
  readonly code = 'ERR_KUBERNETES_UNREACHABLE'
  readonly what: string
  constructor(server: URL, what: string, problem: string, options?: ErrorOptions) {
    super(`${what}: no answer from the API server ${server.host}: ${problem}`, options)
    this.what = what
  }
}

/** The server answered with something that is not JSON, or with more than the bound. */
export class ApiFormatError extends Error {
  override readonly name = 'ApiFormatError'
  readonly code = 'ERR_KUBERNETES_FORMAT'
  readonly what: string
  constructor(what: string, problem: string, options?: ErrorOptions) {
    super(`${what}: the API server's answer ${problem}`, options)
    this.what = what
  }
}

/** An error from a Status object (meta/v1), whatever else it may be. @param status that of HTTP, where the object has none */
export function errorFromStatus(what: string, raw: unknown, status: number, retryAfterHeader?: string): ApiError {
  const object = objectOf(raw)
  const code = member(object, 'code')
  const details = objectOf(member(object, 'details'))
  return new ApiError(
    what,
    status === 0 && typeof code === 'number' && Number.isInteger(code) ? code : status,
    textOf(member(object, 'reason'), 64) ?? '',
    textOf(member(object, 'message'), 100_000) ?? textOf(raw, 100_000) ?? '',
    seconds(retryAfterHeader) ?? seconds(member(details, 'retryAfterSeconds')),
  )
}

/** What went wrong with a connection, in words that say what to look at. */
export function connectionProblem(error: unknown): string {
  const code = member(objectOf(error), 'code')
  const known = typeof code === 'string' ? PROBLEMS[code] : undefined
  return known ?? messageOf(error)
}

/**
 * TLS failed over a certificate, the server's or ours: what we have to check and to show may have been replaced on disk. A server
 * that checks certificates itself says so in an alert.
 */
export function isCertificateProblem(error: unknown): boolean {
  const code = member(objectOf(error), 'code')
  return typeof code === 'string' && /CERT|SIGNATURE|^ERR_SSL_.*_ALERT_/.test(code)
}

const PROBLEMS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused; is it running, and is the address right?',
  ECONNRESET: 'connection reset',
  ENOTFOUND: 'its name does not resolve',
  EAI_AGAIN: 'its name does not resolve now; is DNS reachable from this node?',
  EHOSTUNREACH: 'no route to it; is a firewall in between?',
  ENETUNREACH: 'no route to it',
  ETIMEDOUT: 'timed out; is a firewall in between?',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not signed by the CA that is configured',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not signed by the CA that is configured',
  CERT_SIGNATURE_FAILURE: 'its certificate is not signed by the CA that is configured',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not signed by the CA that is configured',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not signed by the CA that is configured',
}

function seconds(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !(number > 0)) return undefined
  return Math.min(number, LONGEST_RETRY_AFTER)
}
