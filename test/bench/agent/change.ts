import { annotations } from '#src/cluster/annotations.ts'
import { waitUntil } from '#src/lab/wait.ts'
import { percentile } from '../distribution.ts'
import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { LargeMesh } from './large-mesh.ts'
import { newKey } from './node-object.ts'
import { mainThreadMs, usageOf } from './process.ts'

const LIMIT_MS = 60_000

/** From the write of one Node's new key to its peer in the kernel, in a mesh that is encrypted already. */
export async function oneChange({ sizes, changes, profiles }: Profile): Promise<Table> {
  const rows: Row[] = []
  for (const nodes of sizes) {
    await using mesh = await LargeMesh.make(nodes)
    await mesh.startAgent()
    await mesh.stopAgent()
    await mesh.steerAll()
    await mesh.startAgent({ logLevel: 'debug', ...(profiles && { profile: `${profiles}/change-${nodes}` }) })
    const before = usageOf(mesh.pid)
    const began = performance.now()
    const [latencies, writes, own]: [number[], number[], number[]] = [[], [], []]
    for (let change = 0; change < changes; change++) {
      const spent = mainThreadMs(mesh.pid)
      const { latency, write } = await changeKey(mesh, (change * 7) % (nodes - 1))
      latencies.push(latency)
      writes.push(write)
      own.push(mainThreadMs(mesh.pid) - spent)
    }
    const [after, elapsed, probe] = [usageOf(mesh.pid), performance.now() - began, await mesh.probe()]
    rows.push(
      told({
        nodes,
        changes,
        'p50 ms': percentile(latencies, 0.5),
        'p99 ms': percentile(latencies, 0.99),
        'write p50 ms': percentile(writes, 0.5),
        'own p50 ms': percentile(own, 0.5),
        'own p99 ms': percentile(own, 0.99),
        'agent CPU ms each': ((after.cpu - before.cpu) * 1_000) / changes,
        'agent CPU %': ((after.cpu - before.cpu) * 100_000) / elapsed,
        'loop delay p99 ms': probe.loopP99,
        'longest stall ms': probe.loopMax,
        'longest own stall ms': probe.ownMax,
      }),
    )
    await mesh.stopAgent()
  }
  return {
    name: 'one-change',
    title: 'One change',
    notes: [
      'From the request that writes one Node’s new key to the acknowledgement of its peer by the device, one change after the other; to the millisecond. “Write” is the request alone, until it is answered.',
      '“Own” is the time of a processor that the agent’s one thread of JavaScript takes from one write to the next, whatever it does in it; “agent CPU” is the mean of all its threads, V8’s and the kernel’s part among them.',
      'The new key never completes a handshake here, so the agent looks at the handshakes twice a second all the while: its share of a processor is that of a pair that is changing.',
    ],
    rows,
  }
}

async function changeKey(mesh: LargeMesh, index: number): Promise<{ latency: number; write: number }> {
  const key = newKey()
  const log = mesh.followLog()
  const sent = performance.timeOrigin + performance.now()
  await mesh.patchNode(index, { metadata: { annotations: { [annotations.publicKey[4]]: key } } })
  const answered = performance.timeOrigin + performance.now()
  const written = await waitUntil(() => timeOfPeer(log(), key), LIMIT_MS, 'the peer in the kernel')
  return { latency: written - sent, write: answered - sent }
}

/** When the agent logged that the device has taken the peer. */
function timeOfPeer(log: string, key: string): number | undefined {
  const line = log
    .split('\n')
    .slice(0, -1)
    .find(one => one.includes(`set peer ${key.slice(0, 8)} `))
  return line === undefined ? undefined : (JSON.parse(line) as { time: number }).time
}
