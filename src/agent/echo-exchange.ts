import { randomBytes } from 'node:crypto'
import type { PublicKey } from '#keys/public-key.ts'
import { ECHO_BYTES, type Echo } from '#src/hello/echo-message.ts'
import { type EchoFigures, EchoMeter } from '#src/hello/echo-meter.ts'
import { PairUse } from '#src/hello/pair-use.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import { familyOf, type IpAddress } from '#wg/ip.ts'

/** Milliseconds between two echoes of a pair, and between those to a peer that may not know what they are. */
const PERIOD = 2_000
const SLOW_PERIOD = 60_000
const PATIENCE = 10

/** Echoes at one call of `ask`: in a large mesh each pair has its turn less often. */
const MOST_AT_ONCE = 25

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

/**
 * The echoes of all pairs over one device, sent and answered; only observation: nothing that steers looks at them. The
 * caller gives the time, milliseconds of the agent's clock, and sends.
 */
export class EchoExchange {
  readonly #send: (to: IpAddress, echo: Echo) => void
  readonly #measured = new Map<NodeName, Measured>()
  readonly #allowances = new Map<NodeName, Allowance>()

  constructor(send: (to: IpAddress, echo: Echo) => void) {
    this.#send = send
  }

  /** Takes in which pairs are to be measured; one whose key, address or agent is another begins anew. */
  keep(partners: ReadonlyMap<NodeName, EchoPartner>, now: number): void {
    for (const node of this.#measured.keys()) if (!partners.has(node)) this.#measured.delete(node)
    for (const [node, partner] of partners) {
      const known = this.#measured.get(node)
      const measured = known && samePeer(known.partner, partner) ? known : begin(partner, now)
      measured.partner = partner
      if (partner.bytes !== undefined) measured.use.look(partner.bytes, measured.echoBytes, now)
      this.#measured.set(node, measured)
    }
  }

  /** A node that is spoken to no more. */
  forget(node: NodeName): void {
    this.#measured.delete(node)
    this.#allowances.delete(node)
  }

  /** Sends what is due, the longest overdue first. */
  ask(now: number): void {
    const due = [...this.#measured.values()]
      .filter(({ dueAt, use }) => dueAt <= now && use.inUse(now))
      .sort((a, b) => a.dueAt - b.dueAt)
    for (const one of due.slice(0, MOST_AT_ONCE)) {
      const token = randomBytes(8).readBigUInt64BE()
      one.meter.ask(token, now)
      one.dueAt = now + (one.meter.unanswered > PATIENCE ? SLOW_PERIOD : PERIOD)
      this.#count(one)
      this.#send(one.partner.address, { kind: 'ask', token })
    }
  }

  /** @param node one that is spoken to @param from what the tunnel has authenticated as its address */
  receive(node: NodeName, from: IpAddress, { kind, token }: Echo, now: number): void {
    const measured = this.#measured.get(node)
    if (measured) this.#count(measured)
    if (kind === 'answer') {
      if (measured?.partner.address === from) measured.meter.answer(token, now)
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

  #count(measured: Measured): void {
    measured.echoBytes += ECHO_BYTES[familyOf(measured.partner.address)]
  }
}

/** Not all at once, where a mesh is turned on. */
const begin = (partner: EchoPartner, now: number): Measured => ({
  ...{ partner, meter: new EchoMeter(), use: new PairUse(now), echoBytes: 0 },
  dueAt: now + Math.random() * PERIOD,
})

const samePeer = (a: EchoPartner, b: EchoPartner): boolean =>
  a.address === b.address && a.key === b.key && a.session === b.session
