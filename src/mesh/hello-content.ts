import type { PublicKey } from '#keys/public-key.ts'

/** Version of the hello protocol that this build speaks; published as podveil.io/hello. */
export const HELLO_VERSION = 1

/** First 16 bytes of a SHA-256, in hex. */
export type Digest = string

/**
 * What one end of a pair says to the other, inside the tunnel. It describes what the sender's kernel holds at that
 * moment, never what it merely plans.
 */
export interface HelloContent {
  /** Digest of the receiver's key and the allowed IPs that the sender accepts from it; undefined when it accepts none or is about to stop. */
  readonly accepts: Digest | undefined
  /** Whether the sender's routes send traffic for the receiver's pods into the tunnel. */
  readonly steers: boolean
  /**
   * The sender keeps the pair's traffic off this device and will not begin to use it, because it has seen that the
   * receiver's, or its own, main device is about to change.
   */
  readonly parked: boolean
}

/** The last thing heard of a peer, under the key it was heard from. */
export interface HeardHello extends HelloContent {
  readonly key: PublicKey
  /** Whether it answers what we say now: our last change has reached it. */
  readonly knowsOurs: boolean
  /** Milliseconds, the agent's monotonic clock. */
  readonly at: number
}
