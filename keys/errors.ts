/** Text or bytes that are not a key. The message never contains the key. */
export class KeyFormatError extends Error {
  override readonly name = 'KeyFormatError'
  readonly code = 'ERR_KEY_FORMAT'
  constructor(what: string, fault: string) {
    super(`${what} ${fault}`)
  }
}

export type KeyFileFault =
  /** Not what Podveil writes: truncated, another format, a key that is no key. */
  | 'damaged'
  /** Readable or replaceable by others, or not the agent's own: whoever can read it is this node. */
  | 'insecure'
  /** The operating system refused. */
  | 'inaccessible'

/** A key file that must not be used, and what to do about it. The message names the path and never what is in the file. */
export class KeyFileError extends Error {
  override readonly name = 'KeyFileError'
  readonly code = 'ERR_KEY_FILE'
  readonly fault: KeyFileFault
  readonly path: string
  constructor(fault: KeyFileFault, path: string, message: string, options?: ErrorOptions) {
    super(`${path}: ${message}`, options)
    this.fault = fault
    this.path = path
  }
}
