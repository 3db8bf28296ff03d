// Loaded into the agent beside its program: keeps the event loop's delay and the time of garbage collection, and writes what it has
// since the last time to the file that BENCH_PROBE_FILE names, whenever it gets SIGUSR2. Where there is a file of that name with
// `.collect` behind it, garbage is collected first, so that what is left is in use; where there is one with `.quiet`, the loop is not
// looked at until the next time. In JavaScript: to take types away Node.js loads 12 MB.
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Milliseconds between two of its timers, which take 1 % of a processor at 5, and a quarter of that at 50. */
const FINE = 5
const RESOLUTION = Number(process.env.BENCH_PROBE_RESOLUTION ?? FINE)

const file = process.env.BENCH_PROBE_FILE
if (file !== undefined) observe(file)

/** @param {string} file */
function observe(file) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  const watch = () => (existsSync(`${file}.quiet`) ? delay.disable() : delay.enable())
  watch()
  let ownMax = 0
  let spent = threadMs()
  // Of a coarse one nobody wants to know, and it would be most of what the probe takes.
  if (RESOLUTION <= FINE)
    setInterval(() => {
      const now = threadMs()
      ownMax = Math.max(ownMax, now - spent)
      spent = now
    }, RESOLUTION).unref()
  let gcMs = 0
  let collections = 0
  let count = 0
  new PerformanceObserver(list => {
    for (const { duration } of list.getEntries()) gcMs += duration
    collections += list.getEntries().length
  }).observe({ entryTypes: ['gc'] })
  process.on('SIGUSR2', () => {
    // Its samples are the time between two of its timers.
    /** @param {number} nanoseconds */
    const beyond = nanoseconds => Math.max(0, nanoseconds / 1e6 - RESOLUTION)
    /** @type {import('./probe-reading.ts').ProbeReading} */
    const reading = {
      count: ++count,
      loopP99: beyond(delay.percentile(99)),
      loopMax: beyond(delay.max),
      ownMax,
      gcMs,
      collections,
      heapUsed: heapUsed(existsSync(`${file}.collect`)),
    }
    delay.reset()
    watch()
    ownMax = 0
    gcMs = 0
    collections = 0
    writeFileSync(`${file}.new`, JSON.stringify(reading))
    renameSync(`${file}.new`, file)
  })
}

/** @returns milliseconds of a processor */
function threadMs() {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1_000
}

/** @param {boolean} collected */
function heapUsed(collected) {
  if (collected) {
    setFlagsFromString('--expose-gc')
    /** @type {() => void} */
    const collect = runInNewContext('gc')
    // What a finalizer lets go of is garbage of the next one.
    for (let turn = 0; turn < 2; turn++) collect()
  }
  return process.memoryUsage().heapUsed
}
