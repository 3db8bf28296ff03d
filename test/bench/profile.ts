/** How much is measured. */
export interface Profile {
  /** Nodes of a mesh. */
  readonly sizes: readonly number[]
  readonly changes: number
  readonly steadySeconds: number
  readonly plans: number
  /** Of what is measured against the C tools, in turns. */
  readonly rounds: number
  /** Real agents in one lab. */
  readonly agents: readonly number[]
  /** Addresses of pods of their own, for the planner. */
  readonly pods: number
  /** Where profiles of the agent's processor time go. */
  readonly profiles: string | undefined
}

export const FULL: Profile = {
  sizes: [100, 1_000, 5_000],
  changes: 1_000,
  steadySeconds: 60,
  plans: 100,
  rounds: 5,
  agents: [3, 10, 20],
  pods: 100_000,
  profiles: undefined,
}

/** Only that it runs. */
export const SMOKE: Profile = {
  sizes: [20, 200],
  changes: 10,
  steadySeconds: 5,
  plans: 5,
  rounds: 2,
  agents: [3],
  pods: 2_000,
  profiles: undefined,
}
