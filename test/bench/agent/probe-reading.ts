/** Milliseconds, bytes. */
export interface ProbeReading {
  readonly count: number
  readonly loopP99: number
  readonly loopMax: number
  /** The most of a processor that the thread has had between two turns of the loop: what a stall takes on a machine that does nothing else. */
  readonly ownMax: number
  readonly gcMs: number
  readonly collections: number
  readonly heapUsed: number
}
