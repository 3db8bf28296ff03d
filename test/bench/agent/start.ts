import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { LargeMesh, type StartFigures } from './large-mesh.ts'

/** From the start of the agent's process until all peers are in the kernel and its key is published: with an empty kernel, and with a full one. */
export async function agentStart({ sizes, profiles }: Profile): Promise<Table> {
  const rows: Row[] = []
  for (const nodes of sizes) {
    await using mesh = await LargeMesh.make(nodes)
    const cold = await mesh.startAgent({ ...(profiles && { profile: `${profiles}/start-cold-${nodes}` }) })
    rows.push(told(row(nodes, 'empty', cold, await mesh.peers())))
    await mesh.stopAgent()
    await mesh.steerAll()
    const warm = await mesh.startAgent({ ...(profiles && { profile: `${profiles}/start-warm-${nodes}` }) })
    rows.push(told(row(nodes, 'full', warm, await mesh.peers())))
    await mesh.stopAgent()
  }
  return {
    name: 'agent-start',
    title: 'Start of an agent',
    notes: [
      'From the start of the process to `/readyz`: the cluster read, every peer in the kernel, the own key published. “Full” is a restart: every peer and route is there already.',
      'Node objects of 10 kB; the API server is on the same machine, in a process of its own.',
    ],
    rows,
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
  'wireguard-go CPU s': deviceCpu,
  'longest stall ms': probe.loopMax,
  'GC ms': probe.gcMs,
  'RSS MB': agent.rss / 1e6,
  'peak RSS MB': agent.peakRss / 1e6,
})
