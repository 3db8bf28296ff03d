import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type NodeSnapshot, parseSnapshot, SNAPSHOT_FILE } from '../snapshot.ts'

/** What the agent of this node has written last. */
export type FoundSnapshot =
  | { readonly snapshot: NodeSnapshot; readonly missing?: never }
  /** Why there is none, for a person. */
  | { readonly snapshot?: never; readonly missing: string }

/** Never throws: that there is no snapshot, or a damaged one, is something to show. */
export async function readSnapshot(stateDir: string): Promise<FoundSnapshot> {
  const path = join(stateDir, SNAPSHOT_FILE)
  try {
    return { snapshot: parseSnapshot(await readFile(path, 'utf8')) }
  } catch (error) {
    return { missing: `${path}: ${reasonOf(error)}` }
  }
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'is not there: no agent has run here; --state-dir names another place'
  if (code === 'EACCES') return 'may not be read: run as root'
  return error instanceof Error ? error.message : String(error)
}
