import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { monotonicMs, writeDatagram } from './datagram.ts'
import { type FlowTarget, flowKey, PROBE_PORT, type SentFlow } from './protocol.ts'

/**
 * After a pause of the machine no more than so many datagrams go out in a millisecond, so that catching up does not
 * itself overrun a queue (the kernel's backlog holds 1,000).
 */
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
    const elapsed = ((monotonicMs() - this.#startedAt) * this.#options.rate) / 1000
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
    this.#timer = setTimeout(() => this.#tick(), 1)
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
