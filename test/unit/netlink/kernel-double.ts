import { AttributeWriter } from '#wg/netlink/attributes.ts'
import {
  decodeMessages,
  encodeMessage,
  type NetlinkMessage,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
} from '#wg/netlink/message.ts'
import type { NetlinkSocket, NetlinkSocketListener } from '#wg/netlink/socket.ts'

/** The other end of a connection under test: what it was sent, and a way to answer. */
export class KernelDouble implements NetlinkSocket {
  /** One element for each send. */
  readonly sends: NetlinkMessage[][] = []
  closed = false
  /** Answers what was sent; by default nobody does. */
  onSend: (messages: readonly NetlinkMessage[]) => void = () => {}
  /** What send() returns in place of the length. */
  refuse: number | undefined
  #listener: NetlinkSocketListener | undefined

  get sent(): NetlinkMessage[] {
    return this.sends.flat()
  }

  send(bytes: Uint8Array): number {
    if (this.refuse !== undefined) return this.refuse
    const messages = decodeMessages(bytes.slice())
    this.sends.push(messages)
    // A kernel answers before send(2) returns, but the event loop brings it later.
    setImmediate(() => this.onSend(messages))
    return bytes.length
  }

  /** One datagram from the kernel, or from the process with that port. */
  receive(messages: readonly Uint8Array[], port = 0): void {
    this.#listener?.datagram(Buffer.concat(messages), port)
  }

  overrun(): void {
    this.#listener?.overrun()
  }

  start(listener: NetlinkSocketListener): void {
    this.#listener = listener
  }

  ref(): void {}

  unref(): void {}

  close(): void {
    this.closed = true
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

export interface Trouble {
  readonly errno: number
  readonly text?: string
  /** Of the refused attribute, from the start of the message. */
  readonly offset?: number
  /** The request, where the kernel sends it back in full. */
  readonly echo?: NetlinkMessage
}

export const acknowledgement = ({ sequence, type }: NetlinkMessage): Uint8Array =>
  encodeMessage({ type: NLMSG_ERROR, flags: NLM_F_CAPPED, payload: errorPayload(0, type) }, sequence)

export function refusal({ sequence, type }: NetlinkMessage, trouble: Trouble): Uint8Array {
  const attributes = extendedAck(trouble)
  const header = errorPayload(trouble.errno, type)
  let flags = attributes.length > 0 ? NLM_F_ACK_TLVS : 0
  let echo: Uint8Array = new Uint8Array(0)
  if (trouble.echo === undefined) {
    flags |= NLM_F_CAPPED
  } else {
    echo = trouble.echo.payload
    new DataView(header.buffer).setUint32(4, 16 + echo.length, true)
  }
  return encodeMessage({ type: NLMSG_ERROR, flags, payload: Buffer.concat([header, echo, attributes]) }, sequence)
}

export const part = ({ sequence }: NetlinkMessage, type: number, payload: Uint8Array, flags = 0): Uint8Array =>
  encodeMessage({ type, flags: NLM_F_MULTI | flags, payload }, sequence)

export function done({ sequence }: NetlinkMessage, trouble: Trouble = { errno: 0 }): Uint8Array {
  const attributes = extendedAck(trouble)
  const flags = NLM_F_MULTI | (attributes.length > 0 ? NLM_F_ACK_TLVS : 0)
  const payload = Buffer.concat([new Uint8Array(Int32Array.of(-trouble.errno).buffer), attributes])
  return encodeMessage({ type: NLMSG_DONE, flags, payload }, sequence)
}

function errorPayload(errno: number, requestType: number): Uint8Array {
  const payload = new Uint8Array(20)
  const view = new DataView(payload.buffer)
  view.setInt32(0, -errno, true)
  view.setUint32(4, 16, true)
  view.setUint16(8, requestType, true)
  return payload
}

function extendedAck({ text, offset }: Trouble): Uint8Array {
  const writer = new AttributeWriter()
  if (text !== undefined) writer.string(1, text)
  if (offset !== undefined) writer.u32(2, offset)
  return writer.bytes()
}
