import { runIn } from './namespaces.ts'
import type { LabPlan } from './plan.ts'
import { namespacesOf } from './plan.ts'

/** Packets that a full queue of this machine threw away: no fault of routing, and never to be blamed on a switch. */
export interface QueueDrop {
  /** Namespace, and the interface or socket. */
  readonly place: string
  readonly packets: number
}

type Counters = ReadonlyMap<string, number>

/**
 * Adds up what interfaces and sockets of a lab drop for want of room. The kernel does not say why an interface dropped a
 * packet, so this is a hint for whoever asks where a loss comes from, and not part of any verdict.
 */
export class QueueDrops {
  readonly #plan: LabPlan
  readonly #sums = new Map<string, number>()
  #before: Counters | undefined

  constructor(plan: LabPlan) {
    this.#plan = plan
  }

  /** To be called at the start, at the end, and before an interface is removed with its counters. */
  async sample(): Promise<void> {
    const now = await this.#read()
    for (const [place, count] of this.#before ? now : []) {
      const grown = count - (this.#before?.get(place) ?? 0)
      if (grown > 0) this.#sums.set(place, (this.#sums.get(place) ?? 0) + grown)
    }
    this.#before = now
  }

  /** The largest first. */
  total(): QueueDrop[] {
    return [...this.#sums].map(([place, packets]) => ({ place, packets })).sort((a, b) => b.packets - a.packets)
  }

  async #read(): Promise<Counters> {
    const parts = await Promise.all(namespacesOf(this.#plan).map(readNamespace))
    return new Map(parts.flat())
  }
}

async function readNamespace(namespace: string): Promise<[string, number][]> {
  const { stdout } = await runIn(namespace, ['cat', '/proc/net/dev', '/proc/net/snmp6', '/proc/net/snmp'])
  return parseDrops(stdout).map(([place, packets]) => [`${namespace} ${place}`, packets])
}

/** Columns of /proc/net/dev after the name, from 0 (proc_pid_net(5)). */
const RECEIVE_DROP = 3
const TRANSMIT_DROP = 11

/** @param text /proc/net/dev, snmp6 and snmp, one after the other */
export function parseDrops(text: string): [string, number][] {
  const lines = text.split('\n')
  const firstOfSnmp6 = lines.findIndex(line => line.startsWith('Ip6'))
  const devices = lines.slice(0, Math.max(0, firstOfSnmp6)).flatMap((line): [string, number][] => {
    const [, name, rest] = /^\s*(\S+):\s*(\d.*)$/.exec(line) ?? []
    if (name === undefined || rest === undefined) return []
    const columns = rest.trim().split(/\s+/).map(Number)
    return [
      [`${name} in`, columns[RECEIVE_DROP] ?? 0],
      [`${name} out`, columns[TRANSMIT_DROP] ?? 0],
    ]
  })
  const [names = '', values = ''] = lines.filter(line => line.startsWith('Udp:'))
  const four = values.split(' ')[names.split(' ').indexOf('RcvbufErrors')]
  const six = lines.find(line => line.startsWith('Udp6RcvbufErrors'))?.split(/\s+/)[1]
  return [...devices, ['UDP sockets, IPv4', Number(four ?? 0)], ['UDP sockets, IPv6', Number(six ?? 0)]]
}
