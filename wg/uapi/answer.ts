import { UapiFormatError } from './errors.ts'

/** What every peer of an answer begins with. */
export const PEER = 'public_key='
const ERRNO = 'errno='

/**
 * Takes an answer of a device's process apart as it comes, so that it need not be kept: into sections of whole lines, of which
 * the first says what the device is, and each other one what one of its peers is. A section that says nothing is left out.
 */
export class AnswerSplitter {
  #rest = ''
  /** Where the next section has yet to be looked for. */
  #from = 0
  #errno: number | undefined

  /** Positive; 0 is success. Undefined until the answer has come to its end. */
  get errno(): number | undefined {
    return this.#errno
  }

  /**
   * The sections that this piece completes.
   * @throws UapiFormatError for an answer that ends otherwise than answers do
   */
  *push(piece: string): Generator<string> {
    const text = this.#rest + piece
    let start = 0
    for (let end = nextPeer(text, this.#from); end >= 0; end = nextPeer(text, start)) {
      if (end > start) yield text.slice(start, end)
      start = end
    }
    this.#rest = text.slice(start)
    // A peer may begin with the last bytes that have come.
    this.#from = Math.max(0, this.#rest.length - PEER.length)
    if (!text.endsWith('\n\n')) return
    const { errno, last } = splitEnd(this.#rest)
    if (last !== '') yield last
    this.#errno = errno
  }
}

/** Where a peer begins after the beginning of the text, or a line before the place that was looked at; negative for nowhere. */
function nextPeer(text: string, from: number): number {
  const found = text.indexOf(`\n${PEER}`, from)
  return found < 0 ? found : found + 1
}

/** Takes the end off an answer: `errno=…` and a blank line. */
function splitEnd(text: string): { readonly errno: number; readonly last: string } {
  const start = text.lastIndexOf('\n', text.length - 3) + 1
  if (!text.startsWith(ERRNO, start)) throw new UapiFormatError('the answer does not end with an errno')
  // wireguard-go writes negative numbers, others positive ones.
  const value = text.slice(start + ERRNO.length, -2).replace(/^-/, '')
  const errno = /^\d{1,5}$/.test(value) ? Number(value) : Number.NaN
  if (!(errno <= 0xffff)) throw new UapiFormatError('errno is not a number of 0 to 65535')
  return { errno, last: text.slice(0, start) }
}
