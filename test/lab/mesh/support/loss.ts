import { expect } from 'vitest'
import type { Lab } from '#src/lab/lab.ts'
import type { QueueDrop } from '#src/lab/queue-drops.ts'
import type { TrafficReport } from '#src/lab/traffic.ts'
import { waitFor } from '../../harness/wait-for.ts'
import { limit, profile } from './profile.ts'

/**
 * Parts of the rate that is asked for, one for each attempt: a machine that cannot carry the whole twice carries less. The
 * last measurement counts whatever its reason.
 */
const ATTEMPTS = [1, 1, 0.5, 0.25]

/** Datagrams of each pair after the work. */
const AFTERWARDS = 5

/**
 * Measures what is lost while something is done. When this machine's own queues ran over and had to throw away at least
 * as many packets as were lost, by the kernel's counters, that says nothing about the mesh: it is done again, a few
 * times at most, and the last time counts. A loss that the counters do not explain always counts.
 * @param work done again from the start in that case, so it ends as it began
 * @param rate datagrams a second for each pair and family
 */
export async function measureLoss(
  lab: Lab,
  work: () => Promise<void>,
  rate: number = profile.usualRate,
): Promise<TrafficReport> {
  for (let attempt = 0; ; attempt++) {
    const part = rate * (ATTEMPTS[attempt] ?? 1)
    const report = await measureOnce(lab, work, part)
    const dropped = machineDrops(report)
    if (report.lost === 0 || packets(dropped) < report.lost || attempt + 1 === ATTEMPTS.length) return report
    console.warn(
      `${lab.name}: at ${part} a second ${report.lost} of ${report.sent} lost to full queues of this machine, measuring once more: ${text(dropped)}`,
    )
  }
}

/** For what cannot be done again: whatever is lost counts. */
export async function measureOnce(
  lab: Lab,
  work: () => Promise<void>,
  rate: number = profile.usualRate,
): Promise<TrafficReport> {
  await lab.traffic.start({ rate, streams: true })
  try {
    await work()
    // What comes right after the work counts too; and by a clock that goes by events work alone may take no time.
    await untilSent(lab, AFTERWARDS * lab.nodes.length * (lab.nodes.length - 1))
  } catch (error) {
    await lab.traffic.stop(0)
    throw error
  }
  return await lab.traffic.stop()
}

/** Until all pairs together have sent so many more. */
export async function untilSent(lab: Lab, more: number): Promise<void> {
  const { sent } = await lab.traffic.snapshot()
  await waitFor(async () => (await lab.traffic.snapshot()).sent >= sent + more, limit(20_000), `${more} datagrams more`)
}

/** Nothing was lost, twice or garbled, no connection broke, and there was something that could have been. */
export function expectNoLoss(report: TrafficReport): void {
  expect(lossText(report)).toBe('0 lost, 0 twice, 0 connections broken')
  expect(report.sent).toBeGreaterThan(0)
  expect(report.received).toBe(report.sent)
  for (const pair of report.pairs) expect(pair.received, `${pair.source} to ${pair.destination}`).toBeGreaterThan(0)
}

/** One sentence, with all that helps to find the cause where there is something to find. */
function lossText(report: TrafficReport): string {
  const { lost, duplicates, streamFaults, sent, pausedMs } = report
  const sums = `${lost} lost, ${duplicates} twice, ${streamFaults} connections broken`
  if (lost + duplicates + streamFaults === 0) return sums
  const hurt = report.pairs.filter(pair => pair.lost > 0 || (pair.stream && pair.stream.resets.length > 0))
  const pairs = hurt.map(pair => {
    const gaps = pair.gaps.slice(0, 5).map(gap => `${gap.count} at ${gap.atMs} ms`)
    const resets = pair.stream?.resets ?? []
    return `${pair.source} to ${pair.destination} IPv${pair.family}: ${[...gaps, ...resets].join(', ')}`
  })
  const machine = `this machine's queues: ${text(machineDrops(report)) || 'nothing'}; probes held up ${pausedMs} ms`
  return [`${sums} of ${sent}`, ...pairs, machine].join('\n')
}

/**
 * What queues of this machine threw away. The kernel's own WireGuard counts what waits in vain for a handshake as such a
 * drop, which is a fault of the mesh: its devices are no excuse.
 */
function machineDrops({ queueDrops }: TrafficReport): readonly QueueDrop[] {
  if (profile.dataplane !== 'kernel') return queueDrops
  return queueDrops.filter(({ place }) => !/ (wireguard|wg-v6|wg-spare6?)\.cali /.test(place))
}

const packets = (drops: readonly QueueDrop[]): number => drops.reduce((sum, drop) => sum + drop.packets, 0)

const text = (drops: readonly QueueDrop[]): string => drops.map(drop => `${drop.place}: ${drop.packets}`).join(', ')
