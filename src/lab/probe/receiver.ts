import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import type { Family } from '#wg/ip.ts'
import { monotonicMs, readDatagram } from './datagram.ts'
import { flowKey, PROBE_PORT, type ReceivedFlow } from './protocol.ts'
import { type Gap, SequenceSet } from './sequence-set.ts'

/** Asked for; the kernel gives no more than twice net.core.rmem_max. A pause of the process must not look like loss. */
const RECEIVE_BUFFER = 16 * 1024 * 1024

/** More gaps than anybody reads; the count of lost datagrams does not depend on it. */
const MAX_GAPS = 100

interface IncomingFlow {
  readonly numbers: SequenceSet
  lastArrival: number
  longestSilenceMs: number
  longestDelayMs: number
}

/** Counts the datagrams of one run that reach this pod, by sender and family. */
export class Receiver {
  readonly #run: number
  readonly #pod: number
  readonly #flows = new Map<string, IncomingFlow>()
  readonly #sockets: Socket[] = []
  readonly #overflowedBefore = receiveBufferErrors()

  private constructor(run: number, pod: number) {
    this.#run = run
    this.#pod = pod
  }

  static async start(run: number, pod: number, addresses: readonly string[]): Promise<Receiver> {
    const receiver = new Receiver(run, pod)
    for (const address of addresses) await receiver.#listen(address)
    return receiver
  }

  close(): void {
    for (const socket of this.#sockets) socket.close()
    this.#sockets.length = 0
  }

  /** @param below for each flow, the number up to which missing ones are counted */
  received(below: Readonly<Record<string, number>>): ReceivedFlow[] {
    for (const key of Object.keys(below)) this.#flow(key)
    return [...this.#flows].map(([key, flow]) => ({
      key,
      received: flow.numbers.size,
      missing: flow.numbers.missingBelow(below[key] ?? 0),
      duplicates: flow.numbers.duplicates,
      reordered: flow.numbers.reordered,
      longestSilenceMs: flow.longestSilenceMs,
      longestDelayMs: flow.longestDelayMs,
    }))
  }

  gaps(sent: Readonly<Record<string, number>>): Record<string, Gap[]> {
    return Object.fromEntries(
      Object.entries(sent).map(([key, end]) => [key, this.#flow(key).numbers.gaps(end, MAX_GAPS)]),
    )
  }

  overflowed(): number {
    return receiveBufferErrors() - this.#overflowedBefore
  }

  async #listen(address: string): Promise<void> {
    const family: Family = isIPv6(address) ? 6 : 4
    const socket = createSocket({ type: family === 6 ? 'udp6' : 'udp4', recvBufferSize: RECEIVE_BUFFER })
    socket.on('message', (bytes: Buffer, _from: RemoteInfo) => this.#count(bytes, family))
    socket.bind(PROBE_PORT, address)
    await once(socket, 'listening')
    this.#sockets.push(socket)
  }

  #count(bytes: Buffer, family: Family): void {
    const datagram = readDatagram(bytes)
    if (!datagram || datagram.run !== this.#run || datagram.destination !== this.#pod) return
    const flow = this.#flow(flowKey({ source: datagram.source, destination: datagram.destination, family }))
    const now = monotonicMs()
    flow.numbers.add(datagram.sequence)
    if (flow.lastArrival > 0) flow.longestSilenceMs = Math.max(flow.longestSilenceMs, now - flow.lastArrival)
    flow.longestDelayMs = Math.max(flow.longestDelayMs, now - datagram.sentAt)
    flow.lastArrival = now
  }

  #flow(key: string): IncomingFlow {
    let flow = this.#flows.get(key)
    if (!flow) {
      flow = { numbers: new SequenceSet(), lastArrival: 0, longestSilenceMs: 0, longestDelayMs: 0 }
      this.#flows.set(key, flow)
    }
    return flow
  }
}

/** Datagrams that UDP sockets of this network namespace had no room for: RcvbufErrors of RFC 4113's table in /proc/net. */
function receiveBufferErrors(): number {
  const six = /^Udp6RcvbufErrors\s+(\d+)$/m.exec(readFileSync('/proc/net/snmp6', 'utf8'))?.[1]
  const [names = '', values = ''] = readFileSync('/proc/net/snmp', 'utf8')
    .split('\n')
    .filter(line => line.startsWith('Udp:'))
  const four = values.split(' ')[names.split(' ').indexOf('RcvbufErrors')]
  return Number(six ?? 0) + Number(four ?? 0)
}
