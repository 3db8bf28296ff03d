// The process in a pod's network namespace that sends and counts. It listens on a unix socket, for which a network
// namespace is no border: `main.ts SOCKET`.
import { chmodSync, existsSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { setPriority } from 'node:os'
import { dirname } from 'node:path'
import { serveJsonLines } from '../json-lines.ts'
import { MAX_DATAGRAM, MIN_DATAGRAM } from './datagram.ts'
import type { ProbeReport, ProbeRequest, ProbeSnapshot } from './protocol.ts'
import { Receiver } from './receiver.ts'
import { Sender } from './sender.ts'
import { listenForStreams, Stream } from './streams.ts'

/** The most that one probe is asked to send in a second, over all flows: beyond it the measurement itself would lose. */
const MAX_TOTAL_RATE = 20_000

class Probe {
  #run = 0
  #pod = 0
  #receiver: Receiver | undefined
  #sender: Sender | undefined
  #servers: Server[] = []
  #streams: Stream[] = []
  #owner: object | undefined

  /** @param owner the connection that asks; traffic ends with the connection that started it */
  async handle(request: ProbeRequest, owner: object): Promise<unknown> {
    if (this.#owner !== undefined && this.#owner !== owner)
      throw new Error('busy with the traffic of another program, such as `podveil lab watch`')
    switch (request.op) {
      case 'listen':
        this.#forget()
        this.#owner = owner
        this.#run = request.run
        this.#pod = request.pod
        this.#receiver = await Receiver.start(request.run, request.pod, request.addresses)
        this.#servers = await listenForStreams(request.addresses)
        return undefined
      case 'send': {
        const total = request.rate * request.targets.length
        if (!(request.rate > 0) || total > MAX_TOTAL_RATE)
          throw new RangeError(`${total} datagrams a second from one pod; at most ${MAX_TOTAL_RATE} can be counted`)
        if (!(request.size >= MIN_DATAGRAM && request.size <= MAX_DATAGRAM))
          throw new RangeError(`a datagram has ${MIN_DATAGRAM} to ${MAX_DATAGRAM} bytes, not ${request.size}`)
        this.#sender?.stop()
        this.#sender = await Sender.start({ ...request, run: this.#run, pod: this.#pod })
        if (request.streams)
          this.#streams = request.targets.map(target => new Stream(this.#pod, target, request.targets.length))
        return undefined
      }
      case 'stop-sending':
        this.#sender?.stop()
        for (const stream of this.#streams) stream.stop()
        return undefined
      case 'close':
        this.release(owner)
        return undefined
      case 'snapshot':
        return this.#snapshot(request.below)
      case 'report':
        return { ...this.#snapshot(request.sent), gaps: this.#receiver?.gaps(request.sent) ?? {} } satisfies ProbeReport
    }
  }

  release(owner: object): void {
    if (this.#owner !== owner) return
    this.#forget()
    this.#owner = undefined
  }

  #snapshot(below: Readonly<Record<string, number>>): ProbeSnapshot {
    return {
      startedAt: this.#sender?.startedAt ?? 0,
      sent: this.#sender?.sent() ?? [],
      pauses: this.#sender?.pauses ?? [],
      received: this.#receiver?.received(below) ?? [],
      streams: this.#streams.map(stream => stream.state()),
      overflowed: this.#receiver?.overflowed() ?? 0,
    }
  }

  #forget(): void {
    this.#sender?.stop()
    this.#receiver?.close()
    for (const stream of this.#streams) stream.stop()
    for (const server of this.#servers) server.close()
    this.#receiver = undefined
    this.#sender = undefined
    this.#streams = []
    this.#servers = []
  }
}

const path = process.argv[2]
if (path === undefined) throw new TypeError('usage: main.ts SOCKET')

// What is measured comes first: a probe that has to wait sends later, or reads from a large buffer, and loses nothing.
setPriority(5)

const probe = new Probe()
rmSync(path, { force: true })
const server = createServer(socket => {
  serveJsonLines(socket, request => probe.handle(request as ProbeRequest, socket))
  socket.on('close', () => probe.release(socket))
})
server.listen(path, () => chmodSync(path, 0o600))
// A lab that was removed without asking leaves nobody behind.
setInterval(() => existsSync(dirname(path)) || process.exit(0), 2_000)
