import { describe, expect, test } from 'vitest'
import { type DemoRun, demoTable, verdict } from '#src/lab/demo-verdict.ts'
import type { Observation } from '#src/lab/monitor.ts'
import type { TrafficReport } from '#src/lab/traffic.ts'
import { FRAME_CLASSES, type FrameClass, type UnderlaySnapshot } from '#src/lab/underlay-watch.ts'

const frames = (packets: Partial<Record<FrameClass, number>>): UnderlaySnapshot =>
  Object.fromEntries(FRAME_CLASSES.map(name => [name, { packets: packets[name] ?? 0, bytes: 0 }])) as UnderlaySnapshot

const seen = (elapsedMs: number, packets: Partial<Record<FrameClass, number>>): Observation => ({
  traffic: { elapsedMs, sent: elapsedMs, received: elapsedMs, missing: 0, duplicates: 0, resets: 0 },
  underlay: frames(packets),
  since: frames({}),
  encryptedPairs: 0,
  pairs: 6,
  turned: [],
})

const report: TrafficReport = {
  startedAt: 0,
  elapsedMs: 2_000,
  pairs: [],
  sent: 2_000,
  received: 2_000,
  lost: 0,
  duplicates: 0,
  reordered: 0,
  streamFaults: 0,
  overflowed: 0,
  pausedMs: 0,
  queueDrops: [],
}

const good: DemoRun = {
  phases: [
    { name: 'off', before: seen(0, {}), after: seen(1_000, { podClear4: 50 }) },
    { name: 'on', before: seen(1_000, { podClear4: 50 }), after: seen(2_000, { podClear4: 50, wireguard4: 50 }) },
  ],
  report,
  readableOff: 50,
  readableOn: 0,
}

const withOn = (packets: Partial<Record<FrameClass, number>>): DemoRun => ({
  ...good,
  phases: good.phases.map(phase => (phase.name === 'on' ? { ...phase, after: seen(2_000, packets) } : phase)),
})

describe('the demonstration', () => {
  test('has held when nothing was lost and, while on, everything was tunnelled', () => {
    expect(verdict(good).held).toBe(true)
  })

  test.each<[string, DemoRun, RegExp]>([
    ['a datagram was lost', { ...good, report: { ...report, lost: 1 } }, /1 of 2000 datagrams were lost/],
    ['the meter itself lost some', { ...good, report: { ...report, lost: 3, overflowed: 3 } }, /too slow/],
    ['a connection broke', { ...good, report: { ...report, streamFaults: 1 } }, /1 TCP connection/],
    ['IPv4 was in clear while on', withOn({ podClear4: 51, wireguard4: 50 }), /1 pod packets .* in clear/],
    [
      'IPv6 was in clear while on',
      withOn({ podClear4: 50, podClear6: 2, wireguard4: 50 }),
      /2 pod packets .* in clear/,
    ],
    ['nothing was tunnelled while on', withOn({ podClear4: 50 }), /no WireGuard packet/],
    ['the sniffer is blind', { ...good, readableOff: 0 }, /proves nothing/],
    ['the sniffer could read while on', { ...good, readableOn: 1 }, /could read 1/],
    ['nothing was sent', { ...good, report: { ...report, sent: 0 } }, /nothing was sent/],
    ['encryption was never on', { ...good, phases: [] }, /never on/],
  ])('has not held when %s', (_, run, why) => {
    expect(verdict(run).held).toBe(false)
    expect(verdict(run).why).toMatch(why)
  })

  test('says in which phase something was lost', () => {
    const pair = {
      source: 'pod-1',
      destination: 'pod-2',
      family: 4,
      sent: 0,
      received: 0,
      lost: 7,
      duplicates: 0,
    } as const
    const rest = { reordered: 0, refused: 0, longestSilenceMs: 0, longestDelayMs: 0, stream: undefined }
    const gaps = [
      { first: 0, count: 3, atMs: 20 },
      { first: 9, count: 4, atMs: 1_500 },
    ]
    const rows = demoTable({ ...good, report: { ...report, pairs: [{ ...pair, ...rest, gaps }] } }).split('\n')
    expect(rows.map(row => row.split(/ {2,}/)[3])).toEqual(['LOST', '3', '4'])
  })
})
