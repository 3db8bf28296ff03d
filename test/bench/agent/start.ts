import { fileURLToPath } from 'node:url'
import { nodeProgram } from '#src/lab/node-program.ts'
import { must } from '#src/lab/run.ts'
import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { LargeMesh, type StartFigures } from './large-mesh.ts'

const RECORDS = fileURLToPath(new URL('./record-size.ts', import.meta.url))

/** From the start of the agent's process until all peers are in the kernel and its key is published: with an empty kernel, and with a full one. */
export async function agentStart({ sizes, profiles }: Profile): Promise<Table> {
  const rows: Row[] = []
  const heaps = new Heaps()
  for (const nodes of sizes) {
    await using mesh = await LargeMesh.make(nodes)
    const cold = await mesh.startAgent({ ...(profiles && { profile: `${profiles}/start-cold-${nodes}` }) })
    rows.push(
      told({ ...row(nodes, 'empty', cold, await mesh.peers()), ...heaps.row(nodes, 'empty', await inUse(mesh)) }),
    )
    await mesh.stopAgent()
    await mesh.steerAll()
    const warm = await mesh.startAgent({ ...(profiles && { profile: `${profiles}/start-warm-${nodes}` }) })
    rows.push(told({ ...row(nodes, 'full', warm, await mesh.peers()), ...heaps.row(nodes, 'full', await inUse(mesh)) }))
    await mesh.stopAgent()
  }
  return {
    name: 'agent-start',
    title: 'Start of an agent',
    notes: [
      'From the start of the process to `/readyz`: the cluster read, every peer in the kernel, the own key published. “Full” is a restart: every peer and route is there already, and the agent waits up to 1 ms for each peer, 5 s at most, before it asks the API server.',
      'Node objects of 10 kB; the API server is on the same machine, in a process of its own.',
      'The kernel’s part is “system”, and what wireguard-go does in its place; V8’s is “GC” and, before any of ours, the start of Node.js with the program loaded, a tenth of a second of a processor and 60 MB of RSS, 43 of them pages of files, nearly all of its own; the rest is ours: TLS, JSON, plan and netlink. What of these pages only a start looks at is unmapped when the agent is ready: the peak has them, and some come back.',
      'A stall is as long as the loop had no turn, other work on the machine included; an own stall is what the thread itself has had of a processor meanwhile.',
      `The heap in use is what a full collection leaves, right after the start; “kB a Node” is how much more of it there is for each Node than in the mesh of the row before of the same kind: its record, its pair, its peer and what is planned of them. What is kept of a Node alone takes ${(await recordSize(sizes)).toFixed(2)} kB.`,
    ],
    rows,
  }
}

const inUse = async (mesh: LargeMesh): Promise<number> => (await mesh.probe({ collected: true })).heapUsed

/** kB of heap. */
async function recordSize(sizes: readonly number[]): Promise<number> {
  const printed = await must([nodeProgram(), '--expose-gc', RECORDS, String(Math.max(...sizes))])
  return Number(printed) / 1_000
}

/** Heap in use by size of the mesh. */
class Heaps {
  readonly #last = new Map<string, { readonly nodes: number; readonly bytes: number }>()

  row(nodes: number, kind: string, bytes: number): Row {
    const last = this.#last.get(kind)
    this.#last.set(kind, { nodes, bytes })
    return {
      'heap in use MB': bytes / 1e6,
      'kB a Node': last ? (bytes - last.bytes) / 1_000 / (nodes - last.nodes) : Number.NaN,
    }
  }
}

const row = (
  nodes: number,
  kernel: string,
  { readyMs, agent, deviceCpu, probe, apiBytes }: StartFigures,
  peers: number,
) => ({
  nodes,
  'kernel before': kernel,
  'peers after': peers,
  'ready ms': readyMs,
  'MB from the API': apiBytes / 1e6,
  'agent CPU s': agent.cpu,
  'of it system s': agent.system,
  'wireguard-go CPU s': deviceCpu,
  'longest stall ms': probe.loopMax,
  'longest own stall ms': probe.ownMax,
  'GC ms': probe.gcMs,
  'RSS MB': agent.rss / 1e6,
  'of it files MB': agent.fileRss / 1e6,
  'peak RSS MB': agent.peakRss / 1e6,
})
