/** A line longer than the bound; the stream cannot be followed any further. */
export class LineTooLongError extends Error {
  override readonly name = 'LineTooLongError'
  readonly code = 'ERR_LINE_TOO_LONG'
  constructor(bound: number) {
    super(`a line is longer than ${bound} bytes`)
  }
}

const NEWLINE = 0x0a

/** Cuts a stream of bytes into lines. Bytes are looked at once, and a line that came in one piece is not copied. */
export class LineSplitter {
  readonly #longest: number
  #pieces: Buffer[] = []
  #length = 0

  /** @param longest bytes of one line, without its end */
  constructor(longest: number) {
    this.#longest = longest
  }

  /** The lines that this chunk completes, without their ends; empty lines are left out. @throws LineTooLongError */
  *push(chunk: Buffer): Generator<Buffer> {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end))
      start = end + 1
      const line = this.#take()
      if (line.length > 0) yield line
    }
    this.#keep(chunk.subarray(start))
  }

  /** Whether a line has begun that has no end yet. */
  get pending(): boolean {
    return this.#length > 0
  }

  #keep(piece: Buffer): void {
    if (piece.length === 0) return
    this.#length += piece.length
    if (this.#length > this.#longest) throw new LineTooLongError(this.#longest)
    this.#pieces.push(piece)
  }

  #take(): Buffer {
    const [first, ...rest] = this.#pieces
    const line = first === undefined ? Buffer.alloc(0) : rest.length === 0 ? first : Buffer.concat(this.#pieces)
    this.#pieces = []
    this.#length = 0
    return line
  }
}
