import { readFileSync } from 'node:fs'
import type { LabNode } from '#src/lab/lab.ts'
import { namespacePids } from '#src/lab/namespaces.ts'

/** Processes that serve a node's devices, wireguard-go's; none where the kernel does. */
export async function userspaceProcesses(node: LabNode): Promise<number[]> {
  const pids = await namespacePids(node.namespace)
  return pids.filter(pid => commandOf(pid) === 'wireguard-go').toSorted((a, b) => a - b)
}

function commandOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    // It has ended meanwhile.
    return undefined
  }
}
