import { NetlinkFormatError } from './errors.ts'

/** struct nlattr of linux/netlink.h: u16 length with header, u16 type, payload, padding to 4. All integers in host order. */
const HEADER = 4
const TYPE_MASK = 0x3fff
/** NLA_F_NESTED. Strict families (WireGuard is one) refuse nests without it. */
const NESTED = 0x8000
const MAX_ATTRIBUTE = 0xffff

const align = (length: number): number => (length + 3) & ~3

/**
 * A growing buffer of a message's payload and attributes. Host order is little-endian on every platform that Podveil
 * is built for; integers in network order are written as bytes by the caller.
 */
export class AttributeWriter {
  #bytes: Uint8Array
  #view: DataView
  #length = 0

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  /** Bytes written so far, always a multiple of 4. */
  get length(): number {
    return this.#length
  }

  /** What was written; valid until the next write. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  /** A fixed header (struct ifinfomsg and the like) before the attributes; padded to 4. */
  raw(bytes: Uint8Array): this {
    this.#reserve(align(bytes.length))
    this.#bytes.set(bytes, this.#length)
    this.#pad(bytes.length)
    return this
  }

  binary(type: number, bytes: Uint8Array): this {
    if (bytes.length + HEADER > MAX_ATTRIBUTE)
      throw new NetlinkFormatError(`attribute ${type} is too long: ${bytes.length} bytes`)
    this.#reserve(HEADER + align(bytes.length))
    this.#view.setUint16(this.#length, HEADER + bytes.length, true)
    this.#view.setUint16(this.#length + 2, type, true)
    this.#bytes.set(bytes, this.#length + HEADER)
    this.#length += HEADER
    this.#pad(bytes.length)
    return this
  }

  u8(type: number, value: number): this {
    const start = this.#integer(type, 1)
    this.#view.setUint8(start, value)
    return this
  }

  u16(type: number, value: number): this {
    const start = this.#integer(type, 2)
    this.#view.setUint16(start, value, true)
    return this
  }

  u32(type: number, value: number): this {
    const start = this.#integer(type, 4)
    this.#view.setUint32(start, value, true)
    return this
  }

  /** NUL-terminated, as names are. */
  string(type: number, value: string): this {
    return this.binary(type, Buffer.from(`${value}\0`, 'utf8'))
  }

  flag(type: number): this {
    return this.binary(type, new Uint8Array(0))
  }

  /** @throws NetlinkFormatError when the nest outgrows the 16-bit length: callers split before that */
  nested(type: number, write: (writer: this) => void): this {
    const start = this.open(type)
    write(this)
    this.close(start)
    return this
  }

  /** Opens a nest; hand the result to close(). For callers that must stop part of the way through a list. */
  open(type: number): number {
    this.#reserve(HEADER)
    const start = this.#length
    this.#view.setUint16(start + 2, type | NESTED, true)
    this.#length += HEADER
    return start
  }

  close(start: number): void {
    const length = this.#length - start
    if (length > MAX_ATTRIBUTE) throw new NetlinkFormatError(`nest is too long: ${length} bytes`)
    this.#view.setUint16(start, length, true)
  }

  /** Takes back everything after `length`, an earlier value of `this.length`. */
  truncate(length: number): void {
    this.#length = length
  }

  /** Makes an attribute of up to four zero bytes, and says where they are. */
  #integer(type: number, length: number): number {
    this.#reserve(HEADER + 4)
    const start = this.#length + HEADER
    this.#view.setUint16(this.#length, HEADER + length, true)
    this.#view.setUint16(this.#length + 2, type, true)
    this.#view.setUint32(start, 0)
    this.#length = start + 4
    return start
  }

  #pad(length: number): void {
    this.#bytes.fill(0, this.#length + length, this.#length + align(length))
    this.#length += align(length)
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }
}

/**
 * One attribute: a view of the message, not a copy. Numbers are read in place, since a dump of a large device has some twenty
 * attributes for each peer, and a view object for each would take longer than to read them.
 */
export class Attribute {
  readonly type: number
  readonly #bytes: Uint8Array
  readonly #start: number
  readonly #end: number

  /** @param start of its payload in the bytes @param end of it */
  constructor(type: number, bytes: Uint8Array, start: number, end: number) {
    this.type = type
    this.#bytes = bytes
    this.#start = start
    this.#end = end
  }

  get payload(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#end)
  }

  u8(): number {
    this.#atLeast(1)
    return this.#bytes[this.#start] ?? 0
  }

  u16(): number {
    this.#atLeast(2)
    return readU16(this.#bytes, this.#start)
  }

  u32(): number {
    this.#atLeast(4)
    return this.#i32(0) >>> 0
  }

  i32(): number {
    this.#atLeast(4)
    return this.#i32(0)
  }

  u64(): bigint {
    this.#atLeast(8)
    return (BigInt(this.#i32(4) >>> 0) << 32n) | BigInt(this.#i32(0) >>> 0)
  }

  /** Up to the first NUL. */
  string(): string {
    const { payload } = this
    const end = payload.indexOf(0)
    return Buffer.from(end < 0 ? payload : payload.subarray(0, end)).toString('utf8')
  }

  nested(): Attribute[] {
    return readBetween(this.#bytes, this.#start, this.#end)
  }

  /** @throws NetlinkFormatError when the payload has another length */
  exactly(length: number): Uint8Array {
    if (this.#end - this.#start !== length) throw this.#wrongLength(length)
    return this.payload
  }

  #i32(offset: number): number {
    const at = this.#start + offset
    return readU16(this.#bytes, at) | (readU16(this.#bytes, at + 2) << 16)
  }

  #atLeast(length: number): void {
    if (this.#end - this.#start < length) throw this.#wrongLength(length)
  }

  #wrongLength(length: number): NetlinkFormatError {
    const found = this.#end - this.#start
    return new NetlinkFormatError(`attribute ${this.type} has ${found} bytes instead of ${length}`)
  }
}

const readU16 = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)

/**
 * Splits a payload into its attributes, in order, with flag bits taken off the types.
 * @throws NetlinkFormatError when a length is below the header's or reaches past the end
 */
export const readAttributes = (payload: Uint8Array): Attribute[] => readBetween(payload, 0, payload.length)

function readBetween(bytes: Uint8Array, start: number, end: number): Attribute[] {
  const attributes: Attribute[] = []
  let at = start
  // Up to three bytes of padding may follow the last attribute.
  while (end - at >= HEADER) {
    const length = readU16(bytes, at)
    if (length < HEADER || at + length > end)
      throw new NetlinkFormatError(`attribute at ${at - start} claims ${length} of ${end - at} bytes`)
    attributes.push(new Attribute(readU16(bytes, at + 2) & TYPE_MASK, bytes, at + HEADER, at + length))
    at += align(length)
  }
  return attributes
}
