/** The same work by Podveil's netlink and by a C tool. Steps of a list follow one another. */
export interface Step {
  readonly what: string
  /** In words. */
  readonly tool: string
  readonly podveil: () => Promise<unknown>
  /** @param prefix goes before the program */
  readonly tools: (prefix?: readonly string[]) => unknown
  /** Netlink requests that Podveil sends for it. */
  readonly requests: number
}

/** Steps with what they need, and how long the tool takes that is asked for nothing. */
export interface Steps extends AsyncDisposable {
  readonly steps: readonly Step[]
  readonly startTool: () => unknown
}
