/** How much is measured. */
export interface Profile {
  /** Nodes of a mesh. */
  readonly sizes: readonly number[]
  /** Peers, and routes, of one batch. */
  readonly netlinkSizes: readonly number[]
  readonly changes: number
  readonly steadySeconds: number
  /** Seconds from a start until an agent is taken to be at rest: pairs count as in use at first, and are asked for echoes. */
  readonly settleSeconds: number
  readonly soakSeconds: number
  readonly plans: number
  /** Of what is measured against the C tools, in turns. */
  readonly rounds: number
  /** Real agents in one lab. */
  readonly agents: readonly number[]
  /** Real agents of the lab in which what they ask of the API server is counted. */
  readonly apiAgents: number
  /** Seconds of each turn of a data path. */
  readonly transferSeconds: number
  /** Addresses of pods of their own, for the planner. */
  readonly pods: number
  /** Where profiles of the agent's processor time go. */
  readonly profiles: string | undefined
}

export const FULL: Profile = {
  sizes: [100, 1_000, 5_000],
  netlinkSizes: [100, 1_000, 5_000, 10_000],
  changes: 1_000,
  steadySeconds: 60,
  settleSeconds: 100,
  soakSeconds: 3_600,
  plans: 100,
  rounds: 5,
  agents: [10, 50],
  apiAgents: 10,
  transferSeconds: 3,
  pods: 100_000,
  profiles: undefined,
}

/** Only that it runs. */
export const SMOKE: Profile = {
  sizes: [20, 200],
  netlinkSizes: [20, 300],
  changes: 10,
  steadySeconds: 2,
  settleSeconds: 0,
  soakSeconds: 10,
  plans: 5,
  rounds: 2,
  agents: [3],
  apiAgents: 3,
  transferSeconds: 1,
  pods: 2_000,
  profiles: undefined,
}
