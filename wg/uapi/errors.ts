import { errnoName, errnoText } from '../native/errno.ts'

/** An answer that is not of the userspace protocol. Never repeats what was received: it may hold keys. */
export class UapiFormatError extends Error {
  override readonly name = 'UapiFormatError'
  readonly code = 'ERR_UAPI_FORMAT'
}

/** An operation that the userspace implementation refused, or that did not reach it. */
export class UapiError extends Error {
  override readonly name = 'UapiError'
  readonly code = 'ERR_UAPI'
  /** What was tried, in words: `configure wg0`. */
  readonly operation: string
  /** Positive, as in errno.h. */
  readonly errno: number
  /** `EINVAL`. */
  readonly errnoName: string

  constructor(operation: string, errno: number, detail = errnoText(errno), options?: ErrorOptions) {
    super(`${operation}: ${errnoName(errno)}: ${detail}`, options)
    this.operation = operation
    this.errno = errno
    this.errnoName = errnoName(errno)
  }
}

/** Whether this is an answer with that name: `isUapiError(error, 'EINVAL')`. */
export const isUapiError = (error: unknown, ...names: readonly string[]): error is UapiError =>
  error instanceof UapiError && names.includes(error.errnoName)
