import { readdirSync } from 'node:fs'
import { waitUntil } from '#src/lab/wait.ts'
import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { LargeMesh, metric } from './large-mesh.ts'
import { usageOf } from './process.ts'
import { atRate, HEARTBEAT, heartbeats } from './steady.ts'

const SAMPLES = 60
const LIMIT_MS = 120_000
/** Nodes that are replaced in turn, one every so many seconds: always the same, so that no more pairs are changing later than at first. */
const REPLACED = 10
const BETWEEN_REPLACEMENTS = 6
/** Share of the run that is left out of the slope: what is compiled and allocated once. */
const WARMING = 0.2

interface Sample {
  readonly hours: number
  /** MB. */
  readonly rss: number
  /** MB of `rss` that are not pages of files. */
  readonly own: number
}

/** Whether an agent grows: one small mesh for a long time, with kubelets' heartbeats and nodes that are replaced. */
export async function soak({ sizes: [nodes = 100], soakSeconds }: Profile): Promise<Table> {
  await using mesh = await LargeMesh.make(nodes)
  await mesh.startAgent()
  await mesh.stopAgent()
  await mesh.steerAll()
  await mesh.startAgent()
  const beats = heartbeats(mesh)
  const interval = Math.max(BETWEEN_REPLACEMENTS, soakSeconds / SAMPLES)
  const rows: Row[] = []
  const samples: Sample[] = []
  let inUse: number | undefined
  let replaced = 0
  const began = performance.now()
  let at = began
  let before = usageOf(mesh.pid)
  let bytes = await received(mesh)
  await mesh.probe()
  while (at - began < soakSeconds * 1_000) {
    await Promise.all([
      patiently(() => beats(interval)),
      atRate(1 / BETWEEN_REPLACEMENTS, interval, () => patiently(() => mesh.replaceNode(replaced++ % REPLACED))),
    ])
    const after = usageOf(mesh.pid)
    const [now, bytesNow] = [performance.now(), await received(mesh)]
    const seconds = (now - at) / 1_000
    const probe = await mesh.probe()
    const own = (after.rss - after.fileRss) / 1e6
    samples.push({ hours: (now - began) / 3.6e6, rss: after.rss / 1e6, own })
    // Only twice: an agent whose garbage is collected for it all the time would not show what it keeps by itself.
    if (inUse === undefined && now - began >= soakSeconds * 1_000 * WARMING)
      inUse = (await mesh.probe({ collected: true })).heapUsed
    rows.push(
      told({
        minutes: (now - began) / 60_000,
        'RSS MB': after.rss / 1e6,
        'of it of its own MB': own,
        'heap MB': probe.heapUsed / 1e6,
        'agent CPU %': ((after.cpu - before.cpu) * 100) / seconds,
        'loop delay p99 ms': probe.loopP99,
        'longest stall ms': probe.loopMax,
        'GC ms/s': probe.gcMs / seconds,
        'kB/s from the API': (bytesNow - bytes) / 1_000 / seconds,
        'open files': readdirSync(`/proc/${mesh.pid}/fd`).length,
      }),
    )
    ;[at, before, bytes] = [now, usageOf(mesh.pid), bytesNow]
    await mesh.probe()
  }
  const { heapUsed } = await mesh.probe({ collected: true })
  const warm = samples.slice(Math.floor(samples.length * WARMING))
  const slope = (of: 'rss' | 'own') => slopeOf(warm.map(sample => [sample.hours, sample[of]])).toFixed(2)
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1)
  return {
    name: 'soak',
    title: 'A long run',
    notes: [
      `${nodes} nodes, ${((at - began) / 60_000).toFixed(0)} minutes: each Node’s status every ${HEARTBEAT} s, and ${REPLACED} of the nodes replaced in turn, one every ${BETWEEN_REPLACEMENTS} s, ${replaced} in all.`,
      `After the first ${WARMING * 100} % of the time, RSS grew by ${slope('rss')} MB an hour (least squares), of which ${slope('own')} are its own and the rest pages of Node.js’ binary, unmapped when the agent was ready and come back since; what is left of the heap after a full collection was ${megabytes(inUse ?? Number.NaN)} MB then, and ${megabytes(heapUsed)} MB at the end.`,
      'What RSS has beyond the heap in use is V8’s: code, what is free in its pages, and garbage that it has not collected yet.',
    ],
    rows,
  }
}

/** What the API server did not answer is not asked again: the next turn comes. */
const patiently = (write: () => Promise<unknown>): Promise<unknown> => write().catch(() => undefined)

/** A machine that is busy with other work for a while must not end an hour's run. */
const received = async (mesh: LargeMesh): Promise<number> =>
  metric(await waitUntil(() => mesh.metrics(), LIMIT_MS, 'the agent’s metrics'), 'podveil_api_received_bytes_total')

/** By least squares, in units of y for one of x. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (at: 0 | 1): number => points.reduce((sum, point) => sum + point[at], 0) / points.length
  const [x, y] = [mean(0), mean(1)]
  const [over, under] = points.reduce(
    ([a, b], point) => [a + (point[0] - x) * (point[1] - y), b + (point[0] - x) ** 2],
    [0, 0],
  )
  return over / under
}
