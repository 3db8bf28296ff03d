import { randomBytes } from 'node:crypto'
import type { PublicKey } from '#keys/public-key.ts'
import { type Echo, echoBytes, echoLength } from '#src/hello/echo-message.ts'
import { type EchoFigures, EchoMeter } from '#src/hello/echo-meter.ts'
import { PairUse } from '#src/hello/pair-use.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { familyOf, type IpAddress } from '#wg/ip.ts'
import type { PathMtus } from './path-mtus.ts'

/** Milliseconds between two echoes of a pair, and between those to a peer that may not know what they are. */
const PERIOD = 2_000
const SLOW_PERIOD = 60_000
const PATIENCE = 10

/** Echoes at one call of `ask`: in a large mesh each pair has its turn less often. */
const MOST_AT_ONCE = 25

/** Rounds of three about path MTUs, at one call of `ask`. */
const MOST_ROUNDS = 10

/** Answers to one peer: so many at once, and so many more each second. */
const MOST_ANSWERS = 20
const ANSWERS_PER_SECOND = 5

/** A peer whose traffic goes by this device. */
export interface EchoPartner {
  readonly address: IpAddress
  readonly key: PublicKey
  /** Of its agent; another one may be of another version. */
  readonly session: bigint | undefined
  /** Both counters of the peer, in sum; undefined where it is not on the device. */
  readonly bytes: bigint | undefined
}

interface Measured {
  partner: EchoPartner
  readonly meter: EchoMeter
  readonly use: PairUse
  echoBytes: number
  dueAt: number
}

interface Allowance {
  answers: number
  at: number
}

/** Sends one echo. @param length of its datagram, bytes @returns false where it was not sent */
export type SendEcho = (to: IpAddress, echo: Echo, length?: number) => boolean

/**
 * The echoes of all pairs over one device, sent and answered; only observation: nothing that steers looks at them. The
 * caller gives the time, milliseconds of the agent's clock, and sends.
 */
export class EchoExchange {
  readonly #send: SendEcho
  readonly #paths: PathMtus | undefined
  readonly #measured = new Map<NodeName, Measured>()
  readonly #allowances = new Map<NodeName, Allowance>()

  /** @param paths whose MTUs are asked about by the same way */
  constructor(send: SendEcho, paths?: PathMtus) {
    this.#send = send
    this.#paths = paths
  }

  /** Takes in a pair that is to be measured; one whose key, address or agent is another begins anew. */
  keep(node: NodeName, partner: EchoPartner, now: number): void {
    const known = this.#measured.get(node)
    const measured = known && samePeer(known.partner, partner) ? known : begin(partner, now)
    measured.partner = partner
    if (partner.bytes !== undefined) measured.use.look(partner.bytes, measured.echoBytes, now)
    this.#measured.set(node, measured)
  }

  /** It is to be measured no more. */
  leave(node: NodeName): void {
    this.#measured.delete(node)
  }

  /** A node that is spoken to no more. */
  forget(node: NodeName): void {
    this.leave(node)
    this.#allowances.delete(node)
  }

  /** Sends what is due, the longest overdue first. */
  ask(now: number): void {
    const due = [...this.#measured.values()]
      .filter(({ dueAt, use }) => dueAt <= now && use.inUse(now))
      .sort((a, b) => a.dueAt - b.dueAt)
    for (const one of due.slice(0, MOST_AT_ONCE)) {
      const token = newToken()
      one.meter.ask(token, now)
      one.dueAt = now + (one.meter.unanswered > PATIENCE ? SLOW_PERIOD : PERIOD)
      this.#askOne(one, token)
    }
    this.#askPaths(now)
  }

  /** @param node one that is spoken to @param from what the tunnel has authenticated as its address @param length of the datagram, bytes */
  receive(node: NodeName, from: IpAddress, { kind, token }: Echo, now: number, length?: number): void {
    const measured = this.#measured.get(node)
    if (measured) this.#count(measured, length)
    if (kind === 'answer') {
      if (measured?.partner.address !== from) return
      if (!measured.meter.answer(token, now)) this.#paths?.answer(node, token, now)
    } else if (this.#mayAnswer(node, now)) {
      if (measured) this.#count(measured)
      this.#send(from, { kind: 'answer', token })
    }
  }

  /** @returns undefined for not known */
  figures(node: NodeName, now: number): EchoFigures | undefined {
    return this.#measured.get(node)?.meter.figures(now)
  }

  #mayAnswer(node: NodeName, now: number): boolean {
    const { answers, at } = this.#allowances.get(node) ?? { answers: MOST_ANSWERS, at: now }
    const left = Math.min(MOST_ANSWERS, answers + ((now - at) / 1000) * ANSWERS_PER_SECOND)
    this.#allowances.set(node, { answers: left < 1 ? left : left - 1, at: now })
    return left >= 1
  }

  /** Only of a peer that is known to answer echoes, the longest unasked first. */
  #askPaths(now: number): void {
    let rounds = 0
    for (const [node, one] of [...this.#measured]) {
      if (rounds === MOST_ROUNDS) return
      if (!one.meter.answered || !one.use.inUse(now)) continue
      const size = this.#paths?.due(node, now)
      if (size === undefined) continue
      rounds++
      const round = { large: newToken(), small: [newToken(), newToken()] } as const
      this.#paths?.ask(node, round, now)
      this.#askOne(one, round.small[0])
      const sent = this.#askOne(one, round.large, echoLength(familyOf(one.partner.address), size))
      this.#askOne(one, round.small[1])
      if (!sent) this.#paths?.fail(node, now)
      // Its next turn comes after that of all others.
      this.#measured.delete(node)
      this.#measured.set(node, one)
    }
  }

  #askOne(one: Measured, token: bigint, length?: number): boolean {
    this.#count(one, length)
    return this.#send(one.partner.address, { kind: 'ask', token }, length)
  }

  #count(measured: Measured, length?: number): void {
    measured.echoBytes += echoBytes(familyOf(measured.partner.address), length)
  }
}

const newToken = (): bigint => randomBytes(8).readBigUInt64BE()

/** Not all at once, where a mesh is turned on. */
const begin = (partner: EchoPartner, now: number): Measured => ({
  ...{ partner, meter: new EchoMeter(), use: new PairUse(now), echoBytes: 0 },
  dueAt: now + Math.random() * PERIOD,
})

const samePeer = (a: EchoPartner, b: EchoPartner): boolean =>
  a.address === b.address && a.key === b.key && a.session === b.session
