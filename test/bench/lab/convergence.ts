import { Lab } from '#src/lab/lab.ts'
import { waitUntil } from '#src/lab/wait.ts'
import { usageOf } from '../agent/process.ts'
import { median, percentile } from '../distribution.ts'
import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { dataplane } from './dataplane.ts'

const LIMIT_MS = 300_000

/** From the switch until every agent of a lab encrypts to every other one, by their own logs. */
export async function convergence({ agents }: Profile): Promise<Table> {
  const rows: Row[] = []
  for (const nodes of agents) {
    await using lab = await Lab.up({
      name: `bench-${process.pid}-${nodes}`,
      nodes,
      families: '4',
      dataplane: dataplane(),
    })
    for (const node of lab.nodes) await node.agent.ready(LIMIT_MS)
    const before = usages(lab)
    const switched = performance.timeOrigin + performance.now()
    await lab.setEncryption(true)
    const wanted = nodes * (nodes - 1)
    const times = await waitUntil(
      () => {
        const found = encryptedAt(lab)
        return found.length >= wanted && found
      },
      LIMIT_MS,
      `${wanted} directions to be encrypted`,
    )
    const used = usages(lab).map(({ cpu, system }, at) => ({
      cpu: cpu - (before[at]?.cpu ?? 0),
      system: system - (before[at]?.system ?? 0),
    }))
    const after = times.map(time => time - switched)
    rows.push(
      told({
        agents: nodes,
        directions: wanted,
        'half of them after ms': percentile(after, 0.5),
        '99 % after ms': percentile(after, 0.99),
        'all after ms': Math.max(...after),
        'CPU s of an agent': median(used.map(({ cpu }) => cpu)),
        'of it system s': median(used.map(({ system }) => system)),
      }),
    )
  }
  return {
    name: 'convergence',
    title: 'Convergence of a mesh',
    notes: [
      'From the request that turns encryption on until each agent steers into the tunnel to each other one. All agents, their devices and the API server share this machine’s processors.',
      'CPU is the median agent’s, from the switch until the last pair; “system” of it is the kernel’s, and the rest V8’s and ours. What wireguard-go needs for its handshakes is not in it.',
    ],
    rows,
  }
}

const usages = (lab: Lab): ReturnType<typeof usageOf>[] => lab.nodes.map(({ agent }) => usageOf(agent.pid ?? 0))

/** Milliseconds since 1970 at which pairs of nodes were first steered, a direction each. */
function encryptedAt(lab: Lab): number[] {
  const found = new Map<string, number>()
  for (const { name, agent } of lab.nodes)
    for (const line of agent.logs().split('\n')) {
      if (!line.includes('"to":"encrypting"')) continue
      const { peer, time } = JSON.parse(line) as { peer: string; time: number }
      const direction = `${name} ${peer}`
      if (!found.has(direction)) found.set(direction, time)
    }
  return [...found.values()]
}
