import type { Observation } from './monitor.ts'
import { table } from './status.ts'
import type { TrafficReport } from './traffic.ts'
import { clearPodFrames, underlayDelta, wireguardFrames } from './underlay-watch.ts'

/** A part of the demonstration, from one observation to another. */
export interface PhaseResult {
  readonly name: string
  readonly before: Observation
  readonly after: Observation
}

export interface DemoRun {
  readonly phases: readonly PhaseResult[]
  readonly report: TrafficReport
  /** Captured frames in which a pod's payload could be read, while encryption was off and while it was on. */
  readonly readableOff: number
  readonly readableOn: number
}

/** Whether the promises held, and the first reason why not. Nothing counts as held that was not measured. */
export function verdict(run: DemoRun): { readonly held: boolean; readonly why: string } {
  const on = run.phases.find(phase => phase.name === 'on')
  const broken = (why: string) => ({ held: false, why })
  if (!on) return broken('encryption was never on')
  const frames = underlayDelta(on.before.underlay, on.after.underlay)
  if (run.readableOff === 0) return broken('the sniffer saw nothing while encryption was off: it proves nothing')
  if (run.report.sent === 0) return broken('nothing was sent')
  if (run.report.overflowed > 0)
    return broken(`${run.report.overflowed} datagrams found no room in a socket: this machine is too slow for the rate`)
  if (run.report.lost > 0) return broken(`${run.report.lost} of ${run.report.sent} datagrams were lost`)
  if (run.report.streamFaults > 0) return broken(`${run.report.streamFaults} TCP connections broke`)
  if (clearPodFrames(frames) > 0)
    return broken(`${clearPodFrames(frames)} pod packets crossed the underlay in clear while encryption was on`)
  if (run.readableOn > 0) return broken(`the sniffer could read ${run.readableOn} frames while encryption was on`)
  if (wireguardFrames(frames) === 0) return broken('no WireGuard packet crossed the underlay while encryption was on')
  return { held: true, why: `nothing of ${run.report.sent} was lost; nothing was in clear while encryption was on` }
}

/** One row for each phase; what was lost between two of them belongs to the first. */
export function demoTable({ phases, report }: DemoRun): string {
  return table([
    ['PHASE', 'SECONDS', 'SENT', 'LOST', 'POD FRAMES IN CLEAR', 'WIREGUARD FRAMES'],
    ...phases.map(({ name, before, after }, i) => {
      const frames = underlayDelta(before.underlay, after.underlay)
      const from = i === 0 ? 0 : before.traffic.elapsedMs
      const to = phases[i + 1]?.before.traffic.elapsedMs ?? Number.POSITIVE_INFINITY
      return [
        name,
        ((after.traffic.elapsedMs - before.traffic.elapsedMs) / 1000).toFixed(1),
        String(after.traffic.sent - before.traffic.sent),
        String(lostBetween(report, from, to)),
        String(clearPodFrames(frames)),
        String(wireguardFrames(frames)),
      ]
    }),
  ])
}

/** Datagrams that were due in this time, in milliseconds after the start of the traffic, and never arrived. */
const lostBetween = (report: TrafficReport, from: number, to: number): number =>
  report.pairs
    .flatMap(pair => pair.gaps)
    .filter(gap => gap.atMs >= from && gap.atMs < to)
    .reduce((total, gap) => total + gap.count, 0)
