import type { Family } from '#wg/ip.ts'

/**
 * What `podveil verify` asks of its end on a node, one JSON object a line, each answered by one: `{"value": …}` or
 * `{"error": "…"}`. Both sides may be of different versions: members are added, never changed.
 */
export type EndRequest =
  | {
      readonly op: 'listen'
      /** Addresses of the other node: what leads to them is the underlay. */
      readonly towards: readonly string[]
      /** Addresses that will be sent to: where they go in clear is looked at as well. */
      readonly destinations: readonly string[]
      readonly tokens: readonly string[]
      /** Bytes of UDP payload of what we send, encrypted. */
      readonly lengths: readonly number[]
    }
  | {
      readonly op: 'send'
      readonly from: string
      readonly to: string
      readonly token: string
      readonly family: Family
      readonly packetLength: number
      readonly count: number
    }
  | { readonly op: 'tally' }
  /** The last one, and the only one without an answer. */
  | { readonly op: 'end' }

export interface Listening {
  /** Names of the devices that are looked at. */
  readonly devices: readonly string[]
}

export interface Sent {
  readonly sent: number
  /** Why the kernel did not take the others; undefined when it took all. */
  readonly refused?: string
}

export interface Tally {
  readonly clear: readonly {
    readonly token: string
    readonly device: string
    readonly frames: number
    readonly example: string
  }[]
  readonly ciphertext: readonly {
    readonly from: string
    readonly to: string
    readonly length: number
    readonly frames: number
  }[]
}

export type EndReply = { readonly value: unknown } | { readonly error: string }
