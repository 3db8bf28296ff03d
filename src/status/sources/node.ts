import { messageOf } from '#src/cluster/hostile.ts'
import type { NodeKernel } from '../node-kernel.ts'
import type { NodeSnapshot } from '../snapshot.ts'
import { deviceNames, readNodeKernel } from './kernel.ts'
import { readSnapshot } from './snapshot-file.ts'

/** What can be learned on this node, and what could not. */
export interface NodeLook {
  readonly snapshot: NodeSnapshot | undefined
  readonly kernel: NodeKernel | undefined
  /** Why something is missing, a sentence each. */
  readonly notes: readonly string[]
}

/** Reads the agent's snapshot and the kernel; what cannot be read becomes a note. */
export async function lookAtNode(stateDir: string): Promise<NodeLook> {
  const { snapshot, missing } = await readSnapshot(stateDir)
  const notes = missing === undefined ? [] : [missing]
  try {
    return { snapshot, kernel: await readNodeKernel(deviceNames(snapshot)), notes }
  } catch (error) {
    return { snapshot, kernel: undefined, notes: [...notes, `the kernel cannot be read: ${messageOf(error)}`] }
  }
}
