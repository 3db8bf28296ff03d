import { setTimeout as delay } from 'node:timers/promises'
import type { Lab } from './lab.ts'
import { Monitor, observationLine } from './monitor.ts'
import type { TrafficReport } from './traffic.ts'

export interface WatchOptions {
  /** Datagrams a second for each pair of pods and family. */
  readonly rate: number
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

export const reportLine = (report: TrafficReport): string =>
  `sent ${report.sent}, lost ${report.lost}, twice ${report.duplicates}, out of order ${report.reordered}` +
  (report.overflowed > 0
    ? `; ${report.overflowed} found no room in a socket: this machine is too slow for the rate`
    : '')
