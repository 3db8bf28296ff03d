import type { Family } from '#wg/ip.ts'
import type { Gap } from './sequence-set.ts'

/** One direction between two pods in one family. */
export interface FlowKey {
  readonly source: number
  readonly destination: number
  readonly family: Family
}

/** Where a probe sends to. */
export interface FlowTarget {
  /** Index of the other pod. */
  readonly pod: number
  readonly family: Family
  readonly address: string
}

/** Requests that a probe answers, one JSON line each; every answer is one JSON line as well. */
export type ProbeRequest =
  /** Forget what was before, and count the datagrams of this run. */
  | { readonly op: 'listen'; readonly run: number; readonly pod: number; readonly addresses: readonly string[] }
  /** Send to every target, `rate` datagrams a second each; with `streams`, hold a TCP connection to each as well. */
  | {
      readonly op: 'send'
      readonly targets: readonly FlowTarget[]
      readonly rate: number
      readonly size: number
      readonly streams: boolean
    }
  | { readonly op: 'stop-sending' }
  /** `below`: for each flow that ends here, up to which number all have been sent a while ago. */
  | { readonly op: 'snapshot'; readonly below: Readonly<Record<string, number>> }
  /** Forget the run, so that another program may start one. */
  | { readonly op: 'close' }
  /** As snapshot, with the gaps; `sent`: how many of each flow have been sent in all. */
  | { readonly op: 'report'; readonly sent: Readonly<Record<string, number>> }

export interface SentFlow {
  readonly key: string
  readonly sent: number
  /** Datagrams that the kernel refused twice, such as for want of a route; they count as sent, and so as lost. */
  readonly refused: number
}

/** A time in which the sending process did not run, and nothing was sent. */
export interface Pause {
  /** The number that was due then. */
  readonly sequence: number
  readonly lengthMs: number
}

export interface ReceivedFlow {
  readonly key: string
  readonly received: number
  readonly missing: number
  readonly duplicates: number
  readonly reordered: number
  /** Longest time between two arrivals, in milliseconds. */
  readonly longestSilenceMs: number
  /** Longest time from sending to arrival, in milliseconds. */
  readonly longestDelayMs: number
}

export interface StreamState {
  readonly key: string
  /** Numbers that came back, in order. */
  readonly echoed: number
  /** Longest time without an echo while some were due, in milliseconds. */
  readonly longestStallMs: number
  /** Connections that broke, and why. */
  readonly resets: readonly string[]
  /** Numbers that came back wrong. */
  readonly garbled: number
}

export interface ProbeSnapshot {
  /** CLOCK_MONOTONIC in milliseconds at the first datagram; 0 before it. */
  readonly startedAt: number
  readonly sent: readonly SentFlow[]
  readonly pauses: readonly Pause[]
  readonly received: readonly ReceivedFlow[]
  readonly streams: readonly StreamState[]
  /** Datagrams that this pod's sockets had no room for (RcvbufErrors): the meter's own loss, not the network's. */
  readonly overflowed: number
}

export interface ProbeReport extends ProbeSnapshot {
  readonly gaps: Readonly<Record<string, readonly Gap[]>>
}

export const PROBE_PORT = 7777
export const STREAM_PORT = 7778

export const flowKey = ({ source, destination, family }: FlowKey): string => `${source}-${destination}-${family}`

export function parseFlowKey(key: string): FlowKey {
  const [source, destination, family] = key.split('-').map(Number)
  if (!source || !destination || (family !== 4 && family !== 6)) throw new TypeError(`not a flow: ${key.slice(0, 40)}`)
  return { source, destination, family }
}
