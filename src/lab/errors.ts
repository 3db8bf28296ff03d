export type LabErrorCode =
  | 'ERR_LAB_NOT_ROOT'
  | 'ERR_LAB_MISSING_TOOL'
  | 'ERR_LAB_NO_WIREGUARD'
  | 'ERR_LAB_OPTION'
  | 'ERR_LAB_EXISTS'
  | 'ERR_LAB_NOT_FOUND'
  | 'ERR_LAB_STATE'
  | 'ERR_LAB_COMMAND'
  | 'ERR_LAB_PROCESS'
  | 'ERR_LAB_API'
  | 'ERR_LAB_TIMEOUT'
  | 'ERR_LAB_TRAFFIC'

/** Why the lab could not do what was asked: one line for a person, with what to do about it, and a code for a program. */
export class LabError extends Error {
  override readonly name = 'LabError'
  readonly code: LabErrorCode
  constructor(code: LabErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
