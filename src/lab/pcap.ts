import { LabError } from './errors.ts'

const FILE_HEADER = 24
const RECORD_HEADER = 16
/** Magic of a capture in microseconds, and in nanoseconds (pcap-savefile(5)). */
const MAGICS = [0xa1b2c3d4, 0xa1b23c4d]
/** More than any snap length that tcpdump takes. */
const LARGEST_FRAME = 262_144

/** Cuts the byte stream of `tcpdump -w -` into frames. */
export class PcapReader {
  #pending: Buffer = Buffer.alloc(0)
  #littleEndian: boolean | undefined

  /** @returns the frames that are complete now, as captured @throws LabError when it is not a capture */
  push(chunk: Buffer): Buffer[] {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    const frames: Buffer[] = []
    let offset = this.#littleEndian === undefined ? this.#readHeader() : 0
    if (this.#littleEndian === undefined) return frames
    while (this.#pending.length - offset >= RECORD_HEADER) {
      const length = this.#uint32(offset + 8)
      if (length > LARGEST_FRAME) throw new LabError('ERR_LAB_COMMAND', `not a capture: a frame of ${length} bytes`)
      const end = offset + RECORD_HEADER + length
      if (this.#pending.length < end) break
      frames.push(this.#pending.subarray(offset + RECORD_HEADER, end))
      offset = end
    }
    this.#pending = this.#pending.subarray(offset)
    return frames
  }

  #readHeader(): number {
    if (this.#pending.length < FILE_HEADER) return 0
    if (MAGICS.includes(this.#pending.readUInt32LE(0))) this.#littleEndian = true
    else if (MAGICS.includes(this.#pending.readUInt32BE(0))) this.#littleEndian = false
    else throw new LabError('ERR_LAB_COMMAND', 'not a capture: it does not start as one')
    return FILE_HEADER
  }

  #uint32(offset: number): number {
    return this.#littleEndian ? this.#pending.readUInt32LE(offset) : this.#pending.readUInt32BE(offset)
  }
}
