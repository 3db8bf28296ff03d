/** Text or bytes that are not a key. The message never contains the key. */
export class KeyFormatError extends Error {
  override readonly name = 'KeyFormatError'
  readonly code = 'ERR_KEY_FORMAT'
  constructor(what: string, fault: string) {
    super(`${what} ${fault}`)
  }
}
