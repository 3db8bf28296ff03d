export type ReflectorPhase = 'idle' | 'syncing' | 'watching' | 'waiting' | 'absent' | 'stopped'

/** For metrics and `status`. Times are of the clock given, in milliseconds. */
export interface ReflectorState {
  readonly phase: ReflectorPhase
  readonly synced: boolean
  /** How the first state is had: streamed (WatchList), or in pages where the server refuses that. */
  readonly mode: 'watch-list' | 'list'
  readonly items: number
  /** Times that the whole collection was asked for. */
  readonly lists: number
  /** Watch requests, those that stream the list included. */
  readonly watches: number
  /** Requests that failed. */
  readonly restarts: number
  readonly events: number
  /** Objects that could not be read, and handlers that threw. */
  readonly faults: number
  readonly bytes: number
  readonly lastEventAt: number | undefined
  /** Undefined while all is well. */
  readonly lastError: string | undefined
}
