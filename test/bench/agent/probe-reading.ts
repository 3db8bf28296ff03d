/** Milliseconds, bytes. */
export interface ProbeReading {
  readonly count: number
  readonly loopP99: number
  readonly loopMax: number
  readonly gcMs: number
  readonly collections: number
  readonly heapUsed: number
}
