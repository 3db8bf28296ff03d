import { afterAll } from 'vitest'
import { Lab, type LabOptions } from '#src/lab/lab.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { labName, tellingOfAgents } from '../../harness/with-lab.ts'
import { comparable, kernelState, settledState, withoutKeys } from './kernel-state.ts'
import { limit, profile } from './profile.ts'
import { allReady, turnOn } from './with-mesh.ts'

type KernelStates = readonly Record<string, string>[]

/**
 * An encrypted mesh for the cases of one file. The next case gets the same lab only where every agent runs and every node's
 * kernel is what it was when the lab was new, else a new one: a lab costs seconds, and nothing of one case is left for the next
 * either way. Agents that a case has ended are started again, and encryption is on.
 * @param settle done to a lab when it is new and after each case: what cases change on purpose, put back
 */
export function keptMesh(
  options: LabOptions,
  settle: (lab: Lab) => Promise<unknown> = async () => {},
): <T>(use: (lab: Lab) => Promise<T>) => Promise<T> {
  let kept: { readonly lab: Lab; readonly states: KernelStates } | undefined
  afterAll(async () => {
    await kept?.lab.down()
    kept = undefined
  })

  return async use => {
    kept ??= await make(options, settle)
    const { lab, states } = kept
    // Until the case has ended well there is none to be kept.
    kept = undefined
    try {
      const result = await tellingOfAgents(lab, use)
      if (lab.traffic.running) await lab.traffic.stop(0)
      if (await isAsNew(lab, states, settle)) kept = { lab, states }
      return result
    } finally {
      if (!kept) await lab.down()
    }
  }
}

async function make(options: LabOptions, settle: (lab: Lab) => Promise<unknown>) {
  const lab = await Lab.up({ name: labName(), dataplane: profile.dataplane, ...options })
  try {
    await tellingOfAgents(lab, () => getReady(lab, settle))
    return { lab, states: statesOf(await Promise.all(lab.nodes.map(settledState))) }
  } catch (error) {
    await lab.down()
    throw error
  }
}

async function getReady(lab: Lab, settle: (lab: Lab) => Promise<unknown>): Promise<void> {
  await Promise.all(lab.nodes.map(node => node.agent.start()))
  await allReady(lab)
  await turnOn(lab)
  await settle(lab)
}

const statesOf = (states: readonly Record<string, string>[]): KernelStates => withoutKeys(states).map(comparable)

async function isAsNew(lab: Lab, states: KernelStates, settle: (lab: Lab) => Promise<unknown>): Promise<boolean> {
  const look = async () =>
    JSON.stringify(statesOf(await Promise.all(lab.nodes.map(kernelState)))) === JSON.stringify(states)
  try {
    await getReady(lab, settle)
    return await waitFor(look, limit(3_000), 'the lab to be as it was')
  } catch {
    return false
  }
}
