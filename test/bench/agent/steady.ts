import { setTimeout as pause } from 'node:timers/promises'
import type { Profile } from '../profile.ts'
import { type Row, type Table, told } from '../table.ts'
import { LargeMesh, metric } from './large-mesh.ts'
import { statusOf } from './node-object.ts'
import { usageOf } from './process.ts'

/** Seconds between two status updates of a kubelet that has nothing to tell (nodeStatusReportFrequency). */
export const HEARTBEAT = 300
/** Milliseconds between two looks at the event loop, and seconds of them. */
export const COARSE = 50
const LOOP_SECONDS = 20
/** Share of the nodes that are replaced in a minute. */
const CHURN = 0.1

/** What an agent costs while nothing changes but what kubelets write, and while nodes come and go. */
export async function steadyState({ sizes, steadySeconds, settleSeconds, profiles }: Profile): Promise<Table> {
  const rows: Row[] = []
  for (const nodes of sizes) {
    await using mesh = await LargeMesh.make(nodes)
    await mesh.startAgent()
    await mesh.stopAgent()
    await mesh.steerAll()
    await mesh.startAgent({ resolution: COARSE, ...(profiles && { profile: `${profiles}/steady-${nodes}` }) })
    await pause(settleSeconds * 1_000)
    const beats = heartbeats(mesh)
    const load: Record<string, (seconds: number) => Promise<unknown>> = {
      nothing: seconds => pause(seconds * 1_000),
      heartbeats: beats,
      'heartbeats and churn': seconds =>
        Promise.all([
          atRate((nodes * CHURN) / 60, seconds, turn => mesh.replaceNode((turn * 13) % (nodes - 1))),
          beats(seconds),
        ]),
    }
    for (const [name, run] of Object.entries(load)) {
      await mesh.probe({ quiet: true })
      const before = { ...usageOf(mesh.pid), bytes: metric(await mesh.metrics(), 'podveil_api_received_bytes_total') }
      const began = performance.now()
      await run(steadySeconds)
      const seconds = (performance.now() - began) / 1_000
      const after = { ...usageOf(mesh.pid), bytes: metric(await mesh.metrics(), 'podveil_api_received_bytes_total') }
      const probe = await mesh.probe()
      await run(Math.min(steadySeconds, LOOP_SECONDS))
      const loop = await mesh.probe({ quiet: true })
      rows.push(
        told({
          nodes,
          writes: name,
          'agent CPU %': ((after.cpu - before.cpu) * 100) / seconds,
          'of it system %': ((after.system - before.system) * 100) / seconds,
          'RSS MB': after.rss / 1e6,
          'of it files MB': after.fileRss / 1e6,
          'heap MB': probe.heapUsed / 1e6,
          'loop delay p99 ms': loop.loopP99,
          'longest stall ms': loop.loopMax,
          'GC ms/s': probe.gcMs / seconds,
          'collections a minute': (probe.collections / seconds) * 60,
          'kB/s from the API': (after.bytes - before.bytes) / 1_000 / seconds,
        }),
      )
    }
    await mesh.stopAgent()
  }
  return {
    name: 'steady-state',
    title: 'Steady state',
    notes: [
      `${steadySeconds} s each, with all pairs encrypted, from ${settleSeconds} s after the start: until then pairs count as in use, and echoes are sent to all of them. Heartbeats: each Node’s status every ${HEARTBEAT} s, as kubelets write it. Churn: ${CHURN * 100} % of the nodes replaced in a minute; nobody answers with their new keys, so that each stays a pair that is changing.`,
      `The event loop is looked at apart, every ${COARSE} ms for ${LOOP_SECONDS} s or less after each row’s other figures: the timer of that is most of what an agent at rest is woken for, and would be a third to half a percent. Each row has one scrape of the metrics in it.`,
      'The kernel’s part is “system”; V8’s is “GC”, most of which it does on threads beside ours; the rest is ours.',
    ],
    rows,
  }
}

/**
 * Writes each Node's status every so often, for as long as it is told to. A status that is written again as it was is no event, so the
 * beats go on where the last call ended.
 */
export function heartbeats(mesh: LargeMesh): (seconds: number) => Promise<void> {
  let beat = 0
  return seconds =>
    atRate(mesh.nodes / HEARTBEAT, seconds, () => {
      const index = beat++ % (mesh.nodes - 1)
      return mesh.patchNode(index, { status: statusOf(index, beat) }, '/status')
    })
}

/** Calls at even times; one that is late is made up for. @param rate a second */
export async function atRate(rate: number, seconds: number, call: (turn: number) => Promise<unknown>): Promise<void> {
  const began = performance.now()
  for (let turn = 0; turn < rate * seconds; turn++) {
    await pause(Math.max(0, began + (turn * 1_000) / rate - performance.now()))
    await call(turn)
  }
  await pause(Math.max(0, began + seconds * 1_000 - performance.now()))
}
