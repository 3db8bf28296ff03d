/** What a probe's datagram says of itself. */
export interface ProbeDatagram {
  /** Tells one measurement's datagrams from late ones of an earlier one; 32 bits. */
  readonly run: number
  /** Indices of the sending and the receiving pod; 16 bits. */
  readonly source: number
  readonly destination: number
  /** Counts from 0; 32 bits. */
  readonly sequence: number
  /** When it was handed to the kernel, in milliseconds of CLOCK_MONOTONIC, which all namespaces share. */
  readonly sentAt: number
}

/** Every datagram starts with this text, so that a capture shows at a glance whether pods can be read. */
export const CANARY = Buffer.from('PODVEIL-CANARY')

/** Smallest datagram that holds all fields, in bytes. */
export const MIN_DATAGRAM = CANARY.length + 20
export const MAX_DATAGRAM = 65_507

/** Milliseconds of CLOCK_MONOTONIC: the same in every process of this machine. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6

/** Writes the fields over the start of `target`, which has at least MIN_DATAGRAM bytes. */
export function writeDatagram(target: Buffer, datagram: ProbeDatagram): void {
  let offset = CANARY.copy(target)
  offset = target.writeUInt32BE(datagram.run, offset)
  offset = target.writeUInt16BE(datagram.source, offset)
  offset = target.writeUInt16BE(datagram.destination, offset)
  offset = target.writeUInt32BE(datagram.sequence, offset)
  target.writeDoubleBE(datagram.sentAt, offset)
}

/** @returns undefined for what no probe has sent */
export function readDatagram(bytes: Buffer): ProbeDatagram | undefined {
  if (bytes.length < MIN_DATAGRAM || !bytes.subarray(0, CANARY.length).equals(CANARY)) return undefined
  const at = CANARY.length
  return {
    run: bytes.readUInt32BE(at),
    source: bytes.readUInt16BE(at + 4),
    destination: bytes.readUInt16BE(at + 6),
    sequence: bytes.readUInt32BE(at + 8),
    sentAt: bytes.readDoubleBE(at + 12),
  }
}
