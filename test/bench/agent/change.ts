import { setTimeout as delay } from 'node:timers/promises'
import { annotations } from '#src/cluster/annotations.ts'
import { percentile } from '../distribution.ts'
import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { LargeMesh } from './large-mesh.ts'
import { newKey } from './node-object.ts'
import { mainThreadMs, usageOf } from './process.ts'

const LIMIT_MS = 60_000

/** Milliseconds between looks at the agent's log: the next change follows the one before at once, and no time counts twice. */
const LOOK_MS = 1

/** Nodes whose keys are changed in turn: so many pairs are changing at most, whatever the size of the mesh. */
const IN_TURN = 20

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
      const { latency, write } = await changeKey(mesh, ((change % IN_TURN) * 7) % (nodes - 1))
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
      `The keys of ${IN_TURN} nodes are changed in turn. A new key never completes a handshake here, so their pairs are changing all the while, and the agent looks at their handshakes twice a second, of thousands of peers less often: its share of a processor is that of so many pairs that are changing.`,
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
  const limit = performance.now() + LIMIT_MS
  for (;;) {
    const written = timeOfPeer(log(), key)
    if (written !== undefined) return { latency: written - sent, write: answered - sent }
    if (performance.now() > limit) throw new Error(`no peer of Node ${index}'s new key within ${LIMIT_MS / 1_000} s`)
    await delay(LOOK_MS)
  }
}

/** When the agent logged that the device has taken the peer. */
function timeOfPeer(log: string, key: string): number | undefined {
  const line = log
    .split('\n')
    .slice(0, -1)
    .find(one => one.includes(`set peer ${key.slice(0, 8)} `))
  return line === undefined ? undefined : (JSON.parse(line) as { time: number }).time
}
