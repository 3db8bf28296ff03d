// Loaded into the agent beside its program: keeps the event loop's delay and the time of garbage collection, and writes what it has
// since the last time to the file that BENCH_PROBE_FILE names, whenever it gets SIGUSR2.
import { renameSync, writeFileSync } from 'node:fs'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'

/** Milliseconds, bytes. */
export interface ProbeReading {
  readonly count: number
  readonly loopP99: number
  readonly loopMax: number
  readonly gcMs: number
  readonly heapUsed: number
}

const RESOLUTION = 5

const file = process.env.BENCH_PROBE_FILE
if (file !== undefined) observe(file)

function observe(file: string): void {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  delay.enable()
  let gcMs = 0
  let count = 0
  new PerformanceObserver(list => {
    for (const { duration } of list.getEntries()) gcMs += duration
  }).observe({ entryTypes: ['gc'] })
  process.on('SIGUSR2', () => {
    // Its samples are the time between two of its timers.
    const beyond = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - RESOLUTION)
    const reading: ProbeReading = {
      count: ++count,
      loopP99: beyond(delay.percentile(99)),
      loopMax: beyond(delay.max),
      gcMs,
      heapUsed: process.memoryUsage().heapUsed,
    }
    delay.reset()
    gcMs = 0
    writeFileSync(`${file}.new`, JSON.stringify(reading))
    renameSync(`${file}.new`, file)
  })
}
