import { describe, expect, test } from 'vitest'
import { EchoExchange, type EchoPartner } from '#src/agent/echo-exchange.ts'
import { PathMtus } from '#src/agent/path-mtus.ts'
import { type Echo, echoBytes } from '#src/hello/echo-message.ts'
import { PROBE_TIMES } from '#src/hello/path-prober.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { type IpAddress, parseAddress } from '#wg/ip.ts'
import { recordingLogger } from '../cluster/support/recording-logger.ts'
import { publicKey } from '../mesh/records.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HEADERS = 28

const nameOf = (index: number) => `node-${index}` as NodeName
const addressOf = (index: number) => parseAddress(`10.244.${index % 256}.${1 + Math.floor(index / 256)}`)
const endpointOf = (index: number) => parseAddress(`10.200.${Math.floor(index / 256)}.${index % 256}`)

/** One node's echoes to some peers, each behind a path that carries packets of `carried` bytes and no more. */
class Wire {
  readonly log = recordingLogger()
  wakes = 0
  readonly paths = new PathMtus(4, PROBE_TIMES, this.log, () => this.wakes++)
  readonly sent: { readonly to: IpAddress; readonly echo: Echo; readonly length: number }[] = []
  readonly exchange = new EchoExchange((to, echo, length = 16) => this.sent.push({ to, echo, length }) > 0, this.paths)
  readonly carried = new Map<NodeName, number>()
  answers = true
  /** What others use the pair for: every byte of ours is in the kernel's counter as well. */
  bytes = 0n
  busy = true
  now = 0

  constructor(peers: number, full = 1440) {
    for (let index = 2; index < peers + 2; index++) this.carried.set(nameOf(index), 9_000)
    this.paths.limit(full, 0)
    this.keep()
  }

  keep(): void {
    for (const [i, node] of [...this.carried.keys()].entries()) {
      const partner: EchoPartner = { address: addressOf(i + 2), key: publicKey(2), session: 7n, bytes: this.bytes }
      this.exchange.keep(node, partner, this.now)
      this.paths.keep(node, endpointOf(i + 2), this.now)
    }
  }

  run(milliseconds: number): void {
    for (const end = this.now + milliseconds; this.now < end; this.now += 500) {
      const before = this.sent.length
      this.exchange.ask(this.now)
      for (const { to, echo, length } of this.sent.slice(before)) {
        const node = [...this.carried.keys()].find((_, i) => addressOf(i + 2) === to)
        if (this.sent.length === 0 || node === undefined) continue
        this.bytes += BigInt(echoBytes(4, length))
        if (!this.answers || length + HEADERS > (this.carried.get(node) ?? 0)) continue
        this.bytes += BigInt(echoBytes(4))
        this.exchange.receive(node, to, { kind: 'answer', token: echo.token }, this.now + 1, 16)
      }
      if (this.busy) this.bytes += 2_000n
      if (this.now % 10_000 === 0) this.keep()
    }
  }
}

describe('paths of a mesh', () => {
  test('that drop large packets are found one by one, and the others are left alone', () => {
    const wire = new Wire(3)
    wire.carried.set(nameOf(3), 1236)
    wire.run(5 * MINUTE)
    expect(wire.paths.found).toEqual(new Map([[nameOf(3), 1232]]))
    expect([2, 3, 4].map(index => wire.paths.known(nameOf(index)))).toEqual([1440, 1232, 1440])
    expect(wire.wakes).toBe(1)
    expect(wire.log.lines).toEqual([expect.stringMatching(/^warn the path to node-3 \(IPv4\) drops .* 1232 .*1440/)])
  })

  test('are the same map for as long as they say the same', () => {
    const wire = new Wire(2)
    wire.carried.set(nameOf(2), 1236)
    wire.run(5 * MINUTE)
    const { found } = wire.paths
    wire.run(2 * MINUTE)
    expect(wire.paths.found).toBe(found)
  })

  test('that carry all again have no MTU of their own any more, and it is said', () => {
    const wire = new Wire(1)
    wire.carried.set(nameOf(2), 1236)
    wire.run(5 * MINUTE)
    wire.carried.set(nameOf(2), 9_000)
    wire.run(10 * MINUTE)
    expect(wire.paths.found.size).toBe(0)
    expect(wire.log.lines.at(-1)).toMatch(/^info the path to node-2 \(IPv4\) carries all/)
  })

  test('to a peer that has never answered an echo are not asked about: it may know none', () => {
    const wire = new Wire(1)
    wire.answers = false
    wire.run(10 * MINUTE)
    expect(wire.sent.filter(({ length }) => length > 16)).toEqual([])
    expect(wire.paths.known(nameOf(2))).toBeUndefined()
  })

  test('that nobody uses are not asked about, and their own questions are no use', () => {
    const wire = new Wire(1)
    wire.busy = false
    wire.run(3 * MINUTE)
    const asked = wire.sent.length
    wire.run(30 * MINUTE)
    expect(wire.sent.length).toBe(asked)
  })

  test('are asked by what is as large as the tunnel allows, and no larger', () => {
    const wire = new Wire(1, 1420)
    wire.run(5 * MINUTE)
    const sizes = new Set(wire.sent.map(({ length }) => length + HEADERS))
    expect(sizes).toEqual(new Set([44, 1420]))
  })

  test('of a large mesh have their turn, a few at a time', () => {
    const wire = new Wire(500)
    let most = 0
    for (let i = 0; i < 240; i++) {
      const before = wire.sent.length
      wire.run(500)
      most = Math.max(most, wire.sent.slice(before).filter(({ length }) => length > 16).length)
    }
    expect(most).toBeLessThanOrEqual(10)
    expect(new Set(wire.sent.filter(({ length }) => length > 16).map(({ to }) => to)).size).toBe(500)
  })

  test('to a peer that is gone, or that nobody probes any more, are forgotten', () => {
    const wire = new Wire(2)
    wire.carried.set(nameOf(2), 1236).set(nameOf(3), 1236)
    wire.run(5 * MINUTE)
    expect(wire.paths.found.size).toBe(2)
    wire.paths.leave(nameOf(2))
    expect([...wire.paths.found.keys()]).toEqual([nameOf(3)])
    wire.paths.limit(undefined, wire.now)
    expect(wire.paths.found.size).toBe(0)
    wire.keep()
    expect(wire.paths.due(nameOf(3), wire.now + MINUTE)).toBeUndefined()
  })

  test('that an agent before this one found to be smaller stay so until they are seen to carry more', () => {
    const wire = new Wire(1)
    wire.paths.leave(nameOf(2))
    wire.paths.adopt(new Map([[nameOf(2), 1232]]), 0)
    wire.keep()
    expect(wire.paths.found.get(nameOf(2))).toBe(1232)
    wire.run(MINUTE)
    expect(wire.paths.found.get(nameOf(2))).toBe(1232)
    wire.run(10 * MINUTE)
    expect(wire.paths.found.size).toBe(0)
  })

  test('by another address are asked at once, and keep what was found until the answer', () => {
    const wire = new Wire(1)
    wire.carried.set(nameOf(2), 1236)
    wire.run(5 * MINUTE)
    wire.carried.set(nameOf(2), 9_000)
    wire.paths.keep(nameOf(2), endpointOf(77), wire.now)
    expect(wire.paths.found.get(nameOf(2))).toBe(1232)
    wire.run(5 * SECOND)
    expect(wire.paths.found.size).toBe(0)
  })

  test('that carry not even the smallest MTU keep the tunnel’s, and it is said', () => {
    const wire = new Wire(1)
    wire.carried.set(nameOf(2), 500)
    wire.run(5 * MINUTE)
    expect(wire.paths.found.size).toBe(0)
    expect(wire.log.lines).toEqual([expect.stringMatching(/smallest MTU that there is/)])
  })
})
