import { Lab, type LabOptions } from '#src/lab/lab.ts'

const TAIL_LINES = 40

let made = 0

/** A name that no other test run on this machine has. */
export const labName = (): string => `test-${process.pid}-${++made}`

/**
 * A lab for one case, removed whatever happens. When the case fails, the ends of the agents' logs are printed: after
 * the removal nobody can look at them any more.
 */
export async function withLab<T>(options: LabOptions, use: (lab: Lab) => Promise<T>): Promise<T> {
  await using lab = await Lab.up({ name: labName(), ...options })
  return await tellingOfAgents(lab, use)
}

/** @throws what `use` throws, once the ends of the agents' logs are printed */
export async function tellingOfAgents<T>(lab: Lab, use: (lab: Lab) => Promise<T>): Promise<T> {
  try {
    return await use(lab)
  } catch (error) {
    for (const node of lab.nodes) printLog(node.name, () => node.agent.logs())
    throw error
  }
}

function printLog(node: string, read: () => string): void {
  let text: string
  try {
    text = read()
  } catch {
    // It never ran.
    return
  }
  const tail = text.trimEnd().split('\n').slice(-TAIL_LINES)
  console.error([`--- agent of ${node}:`, ...tail].join('\n'))
}
