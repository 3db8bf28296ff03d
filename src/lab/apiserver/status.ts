import type { JsonObject } from './json.ts'

/** One reason why an object was refused, and the field that it is about (`spec.wireguardEnabled`). */
export interface Cause {
  readonly reason: string
  readonly message: string
  readonly field: string
}

/** What an answer of refusal is about: the plural (or kind, for an invalid object), its group and its name. */
export interface Subject {
  readonly group: string
  readonly kind: string
  readonly name?: string
}

interface Details extends Partial<Subject> {
  readonly causes?: readonly Cause[]
  readonly retryAfterSeconds?: number
  readonly uid?: string
}

/** An answer that is not what was asked for: a `Status` of apimachinery, with its HTTP code. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly code: number
  readonly reason: string
  readonly details: Details
  /** metadata.continue: where a client whose continue token has expired may go on, without a consistent list. */
  readonly resume: string | undefined

  constructor(code: number, reason: string, message: string, details: Details = {}, resume?: string) {
    super(message)
    this.code = code
    this.reason = reason
    this.details = details
    this.resume = resume
  }

  get status(): JsonObject {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: this.resume === undefined ? {} : { continue: this.resume },
      status: 'Failure',
      message: this.message,
      ...(this.reason !== '' && { reason: this.reason }),
      ...(Object.keys(this.details).length > 0 && { details: withoutEmpty(this.details) }),
      code: this.code,
    }
  }
}

/** As Go's `omitempty` has it. */
function withoutEmpty(details: object): JsonObject {
  return Object.fromEntries(Object.entries(details).filter(([, value]) => value !== ''))
}

function qualified(subject: Subject): string {
  return subject.group === '' ? subject.kind : `${subject.kind}.${subject.group}`
}

export function success(details: Subject & { uid?: string }): JsonObject {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details: withoutEmpty(details) }
}

export function badRequest(message: string): ApiError {
  return new ApiError(400, 'BadRequest', message)
}

export function unauthorized(): ApiError {
  return new ApiError(401, 'Unauthorized', 'Unauthorized')
}

export function notFound(subject: Subject): ApiError {
  return new ApiError(404, 'NotFound', `${qualified(subject)} "${subject.name}" not found`, subject)
}

export function methodNotAllowed(): ApiError {
  return new ApiError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource')
}

export function notAcceptable(accepted: readonly string[]): ApiError {
  return new ApiError(406, 'NotAcceptable', `only the following media types are accepted: ${accepted.join(', ')}`)
}

export function alreadyExists(subject: Subject): ApiError {
  return new ApiError(409, 'AlreadyExists', `${qualified(subject)} "${subject.name}" already exists`, subject)
}

const STALE = 'the object has been modified; please apply your changes to the latest version and try again'

export function conflict(subject: Subject, why: string = STALE): ApiError {
  const message = `Operation cannot be fulfilled on ${qualified(subject)} "${subject.name}": ${why}`
  return new ApiError(409, 'Conflict', message, subject)
}

export function expired(message: string, resume?: string): ApiError {
  return new ApiError(410, 'Expired', message, {}, resume)
}

export function tooLarge(limit: number): ApiError {
  return new ApiError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${limit}`)
}

export function unsupportedMediaType(accepted: readonly string[]): ApiError {
  const message = `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`
  return new ApiError(415, 'UnsupportedMediaType', message)
}

/** An option in the query that cannot be; `kind` is the kind of options (`CreateOptions`). */
export function invalidOption(kind: string, field: string, reason: string, message: string): ApiError {
  return invalid({ group: 'meta.k8s.io', kind, name: '' }, [{ reason, message, field }])
}

/** `subject.kind` is the Kind here, as the real server has it. Call with one cause or more. */
export function invalid(subject: Subject, causes: readonly Cause[]): ApiError {
  const texts = causes.map(cause => `${cause.field}: ${cause.message}`)
  const all = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`
  return new ApiError(422, 'Invalid', `${qualified(subject)} "${subject.name ?? ''}" is invalid: ${all}`, {
    ...subject,
    causes,
  })
}

export function tooLargeResourceVersion(asked: number, current: number): ApiError {
  return new ApiError(504, 'Timeout', `Timeout: Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version', field: '' }],
    retryAfterSeconds: 1,
  })
}
