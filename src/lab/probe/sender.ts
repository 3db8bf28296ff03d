import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { monotonicMs, writeDatagram } from './datagram.ts'
import { type FlowTarget, flowKey, type Pause, PROBE_PORT, type SentFlow } from './protocol.ts'

/**
 * What was due while this process itself did not run is made up for when that was a moment, and left out when it was
 * longer: sent in one go it would overrun queues (the kernel's backlog holds 1,000, a tun device 500), and tell nothing
 * of the time in which nothing was sent.
 */
const LONGEST_BACKLOG_MS = 50
/** Of one that has nobody to send to. */
const LONGEST_WAIT_MS = 1_000
/** Datagrams in a millisecond while a backlog is made up for. */
const CATCH_UP_PER_TICK = 32

interface OutgoingFlow {
  readonly key: string
  readonly target: FlowTarget
  readonly socket: Socket
  /** Share of the interval by which it is behind the first flow, so that flows do not send in bursts. */
  readonly phase: number
  sent: number
  refused: number
}

export interface SenderOptions {
  readonly run: number
  readonly pod: number
  readonly targets: readonly FlowTarget[]
  /** Datagrams a second for each target. */
  readonly rate: number
  /** Bytes of UDP payload. */
  readonly size: number
}

/**
 * Sends numbered datagrams at a rate that depends on nothing but the clock: replies are not waited for, and an outage
 * does not slow it down. That is what makes the loss exact.
 */
export class Sender {
  readonly #options: SenderOptions
  readonly #flows: OutgoingFlow[]
  #startedAt = 0
  /** Milliseconds that have been left out. */
  #paused = 0
  readonly #pauses: Pause[] = []
  #timer: NodeJS.Timeout | undefined

  private constructor(options: SenderOptions, flows: OutgoingFlow[]) {
    this.#options = options
    this.#flows = flows
  }

  static async start(options: SenderOptions): Promise<Sender> {
    const flows = await Promise.all(options.targets.map((target, i) => openFlow(options, target, i)))
    const sender = new Sender(options, flows)
    sender.#startedAt = monotonicMs()
    sender.#tick()
    return sender
  }

  get startedAt(): number {
    return this.#startedAt
  }

  get pauses(): readonly Pause[] {
    return this.#pauses
  }

  sent(): SentFlow[] {
    return this.#flows.map(({ key, sent, refused }) => ({ key, sent, refused }))
  }

  /** Sends nothing more; the counts stay. */
  stop(): void {
    if (this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    // What was handed over in this turn is still on its way into the kernel.
    setTimeout(() => {
      for (const { socket } of this.#flows) socket.close()
    }, 100)
  }

  #tick(): void {
    const elapsed = (this.#runningMs() * this.#options.rate) / 1000
    let room = CATCH_UP_PER_TICK
    for (let progress = true; progress && room > 0; ) {
      progress = false
      for (const flow of this.#flows) {
        if (room <= 0 || flow.sent > elapsed - flow.phase) continue
        this.#sendNext(flow)
        room--
        progress = true
      }
    }
    this.#timer = setTimeout(() => this.#tick(), this.#untilNextMs())
  }

  /** A dozen probes that all wake each millisecond would keep a processor of a small machine to themselves. */
  #untilNextMs(): number {
    const interval = 1000 / this.#options.rate
    const running = monotonicMs() - this.#startedAt - this.#paused
    const due = this.#flows.reduce((least, { sent, phase }) => Math.min(least, sent + phase), Infinity)
    return Math.min(Math.max(1, due * interval - running), LONGEST_WAIT_MS)
  }

  /** Time for which datagrams are due. */
  #runningMs(): number {
    const running = monotonicMs() - this.#startedAt - this.#paused
    // All flows are sent in turn, so the first tells how far all are.
    const sent = this.#flows[0]?.sent ?? 0
    const backlog = running - (sent * 1000) / this.#options.rate
    const interval = 1000 / this.#options.rate
    if (backlog <= LONGEST_BACKLOG_MS + interval) return running
    const lengthMs = backlog - interval
    this.#paused += lengthMs
    this.#pauses.push({ sequence: sent, lengthMs })
    return running - lengthMs
  }

  #sendNext(flow: OutgoingFlow): void {
    const buffer = Buffer.alloc(this.#options.size)
    writeDatagram(buffer, {
      run: this.#options.run,
      source: this.#options.pod,
      destination: flow.target.pod,
      sequence: flow.sent,
      sentAt: monotonicMs(),
    })
    flow.sent++
    flow.socket.send(buffer, error => {
      if (!error) return
      // An ICMP error about an earlier datagram is reported on this one, which then was not sent at all.
      flow.socket.send(buffer, again => {
        if (again) flow.refused++
      })
    })
  }
}

async function openFlow(options: SenderOptions, target: FlowTarget, place: number): Promise<OutgoingFlow> {
  const socket = createSocket(target.family === 4 ? 'udp4' : 'udp6')
  // The same ICMP errors are reported here too; the callback of send() deals with them.
  socket.on('error', () => {})
  socket.connect(PROBE_PORT, target.address)
  await once(socket, 'connect')
  return {
    key: flowKey({ source: options.pod, destination: target.pod, family: target.family }),
    target,
    socket,
    phase: place / Math.max(1, options.targets.length),
    sent: 0,
    refused: 0,
  }
}
