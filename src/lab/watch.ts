import { setTimeout as delay } from 'node:timers/promises'
import type { Lab } from './lab.ts'
import { Monitor, observationLine } from './monitor.ts'
import type { TrafficReport } from './traffic.ts'

export interface WatchOptions {
  /** Datagrams a second for each pair of pods and family; undefined is what a small machine can carry. */
  readonly rate: number | undefined
  /** How long; until interrupted when undefined. */
  readonly seconds: number | undefined
  readonly signal: AbortSignal
  readonly print: (line: string) => void
}

/** Sends between all pods and prints one line a second, until it is told to stop. */
export async function watchLab(lab: Lab, options: WatchOptions): Promise<TrafficReport> {
  await lab.traffic.start({ rate: options.rate })
  try {
    const monitor = new Monitor(lab)
    await monitor.observe()
    const end = performance.now() + (options.seconds ?? Number.POSITIVE_INFINITY) * 1000
    while (performance.now() < end) {
      await delay(1000, undefined, { signal: options.signal })
      options.print(observationLine(await monitor.observe()))
    }
  } catch (error) {
    if (!options.signal.aborted) throw error
  }
  return lab.traffic.stop()
}

const PAUSE_WORTH_SAYING_MS = 500

/** The account in one line, or more where something was lost: then it says where queues of this machine were full. */
export function reportText(report: TrafficReport): string {
  const lines = [
    `sent ${report.sent}, lost ${report.lost}, twice ${report.duplicates}, out of order ${report.reordered}`,
    ...(report.pausedMs > PAUSE_WORTH_SAYING_MS
      ? [
          `a probe did not run for ${(report.pausedMs / 1000).toFixed(1)} s in all, and sent nothing then: this machine is busy`,
        ]
      : []),
    ...(report.overflowed > 0 ? [`${report.overflowed} found no room in a pod's socket: the meter was too slow`] : []),
    ...(report.lost > 0
      ? report.queueDrops.map(({ place, packets }) => `${packets} dropped by a queue: ${place}`)
      : []),
  ]
  return lines.join('\n')
}
