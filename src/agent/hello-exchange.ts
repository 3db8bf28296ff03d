import { randomBytes } from 'node:crypto'
import type { PublicKey } from '#keys/public-key.ts'
import { messageOf } from '#src/cluster/hostile.ts'
import type { Logger } from '#src/cluster/logger.ts'
import { HelloChannel } from '#src/hello/channel.ts'
import { Conversation } from '#src/hello/conversation.ts'
import type { EchoFigures } from '#src/hello/echo-meter.ts'
import { HELLO_PORT, type HelloMessage } from '#src/hello/message.ts'
import type { HeardHello, HelloContent } from '#src/mesh/hello-content.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerStates } from '#src/mesh/peer-machine.ts'
import type { IpAddress } from '#wg/ip.ts'
import { SocketError } from '#wg/native/socket.ts'
import { Table } from '#wg/table.ts'
import { EchoExchange } from './echo-exchange.ts'
import type { PathMtus } from './path-mtus.ts'

/**
 * How long the side with the greater key leaves the first word to the other, milliseconds: handshakes that both start at
 * once can cost WireGuard's retry of five seconds.
 */
const COURTESY = 1_000

/** Milliseconds between two looks at which echoes are due. */
const ECHO_TICK = 500

interface Place {
  readonly device: string
  /** A device that was made anew has another index, and needs another socket. */
  readonly index: number | undefined
  readonly address: IpAddress
}

interface Partner {
  readonly address: IpAddress
  /** The key that holds its address on the device: whatever comes from that address was authenticated by it. */
  readonly key: PublicKey
  readonly conversation: Conversation
}

/** The conversations with all peers of one family, over one socket on the device. */
export class HelloExchange {
  readonly #log: Logger
  readonly #wake: () => void
  readonly #partners = new Map<NodeName, Partner>()
  /** Partners that something is to be said to at some time. */
  readonly #speaking = new Set<NodeName>()
  readonly #heard = new Table<NodeName, HeardHello>()
  readonly #echoes: EchoExchange
  #echoTimer: NodeJS.Timeout | undefined
  /** Undefined while a partner that has left its address has yet to be taken out. */
  #byAddress: Map<IpAddress, NodeName> | undefined = new Map()
  #place: Place | undefined
  #channel: HelloChannel | undefined
  #fault: string | undefined

  /** @param paths the path MTUs of all pairs of the family, asked about by the pairs that are on this device */
  constructor(log: Logger, wake: () => void, paths: PathMtus) {
    this.#log = log
    this.#wake = wake
    this.#echoes = new EchoExchange((to, echo, length) => this.#channel?.sendEcho(to, echo, length) ?? false, paths)
  }

  /** Moves to where the device is now; undefined while there is none. */
  open(place: Place | undefined): void {
    if (samePlace(this.#place, place)) return
    this.close()
    if (!place) return
    try {
      this.#channel = new HelloChannel(place.device, place.address, {
        hello: (from, message) => this.#receive(from, message),
        echo: (from, echo, length) => {
          const node = this.#byAddress?.get(from)
          if (node !== undefined) this.#echoes.receive(node, from, echo, performance.now(), length)
        },
      })
      this.#place = place
      this.#echoTimer = setInterval(() => this.#echoes.ask(performance.now()), ECHO_TICK)
      this.#echoTimer.unref()
      this.#fault = undefined
    } catch (error) {
      const fault = `cannot speak hello on ${place.device}, trying again: ${reasonOf(error)}`
      // Every pass tries again.
      if (fault !== this.#fault) this.#log.warn({ event: 'hello-unavailable', device: place.device, err: error }, fault)
      this.#fault = fault
    }
  }

  /** The last thing heard of each peer. Live. */
  heard(): ReadonlyMap<NodeName, HeardHello> {
    return this.#heard
  }

  /** Whom something was said to, and is until something else is to be said. */
  partners(): Iterable<NodeName> {
    return this.#partners.keys()
  }

  /**
   * Takes in what is to be said to some peers from now on, undefined for nothing, and says to all what is due; in steps, as
   * in a large mesh that just started there are thousands.
   * @returns when the next hello is due, milliseconds
   */
  *speak(
    hellos: Iterable<readonly [NodeName, HelloContent | undefined]>,
    states: PeerStates,
    ownKey: PublicKey,
    handshaken: (key: PublicKey) => boolean,
    now: number,
  ): Generator<undefined, number> {
    for (const [node, content] of hellos) {
      yield
      const state = states.get(node)
      if (!content || !state || state.phase === 'absent' || state.helloAddress === undefined) {
        this.#part(node)
        continue
      }
      const { conversation } = this.#partner(node, state.helloAddress, state.key)
      const notBefore = ownKey < state.key || handshaken(state.key) ? now : now + COURTESY
      conversation.say(content, notBefore, state.phase === 'accepting' ? state.since : undefined)
      this.#note(node, conversation)
    }
    let next = Number.POSITIVE_INFINITY
    for (const node of this.#speaking) {
      yield
      const { address, conversation } = this.#partners.get(node) ?? NOBODY
      const message = conversation && conversation.nextAt <= now ? conversation.take(now) : undefined
      if (message && address !== undefined) this.#channel?.send(address, message)
      const nextAt = conversation?.nextAt ?? Number.POSITIVE_INFINITY
      if (!Number.isFinite(nextAt)) this.#speaking.delete(node)
      next = Math.min(next, nextAt)
    }
    this.#byAddress ??= new Map([...this.#partners].map(([node, { address }]) => [address, node]))
    return next
  }

  /**
   * Has a pair measured from now on, or no more.
   * @param traffic of a pair whose traffic goes by this device: both counters of the peer in sum, where it is on the device
   */
  measure(node: NodeName, traffic: { readonly bytes: bigint | undefined } | undefined, now: number): void {
    const partner = traffic && this.#partners.get(node)
    if (!partner) {
      this.#echoes.leave(node)
      return
    }
    const { address, key, conversation } = partner
    this.#echoes.keep(node, { address, key, session: conversation.theirSession, bytes: traffic.bytes }, now)
  }

  /** @returns undefined for not known */
  echoFigures(node: NodeName, now: number): EchoFigures | undefined {
    return this.#echoes.figures(node, now)
  }

  close(): void {
    clearInterval(this.#echoTimer)
    this.#channel?.[Symbol.dispose]()
    this.#channel = undefined
    this.#place = undefined
  }

  #partner(node: NodeName, address: IpAddress, key: PublicKey): Partner {
    const known = this.#partners.get(node)
    const conversation = known?.conversation ?? new Conversation(randomBytes(8).readBigUInt64BE())
    const partner = { address, key, conversation }
    if (known !== undefined && known.address !== address) this.#byAddress = undefined
    this.#byAddress?.set(address, node)
    this.#partners.set(node, partner)
    return partner
  }

  #part(node: NodeName): void {
    if (!this.#partners.delete(node)) return
    this.#byAddress = undefined
    this.#speaking.delete(node)
    this.#heard.delete(node)
    this.#echoes.forget(node)
  }

  /** What was said or heard may have changed what the other side knows, and when it is spoken to again. */
  #note(node: NodeName, { heard, nextAt }: Conversation): void {
    if (heard) this.#heard.set(node, heard)
    if (Number.isFinite(nextAt)) this.#speaking.add(node)
  }

  #receive(from: IpAddress, message: HelloMessage): void {
    const node = this.#byAddress?.get(from)
    const partner = node === undefined ? undefined : this.#partners.get(node)
    if (node === undefined || !partner) return
    const isNews = partner.conversation.hear(message, partner.key, performance.now())
    this.#note(node, partner.conversation)
    if (isNews) this.#wake()
  }
}

/** Whoever listens on the port on every address has it on this device as well. */
const reasonOf = (error: unknown): string =>
  error instanceof SocketError && error.errnoName === 'EADDRINUSE'
    ? `UDP port ${HELLO_PORT} is in use: end what listens there ("ss -ulnp sport = ${HELLO_PORT}" names it); until then no pair can prove itself`
    : messageOf(error)

const NOBODY = { address: undefined, conversation: undefined }

const samePlace = (a: Place | undefined, b: Place | undefined): boolean =>
  a?.device === b?.device && a?.index === b?.index && a?.address === b?.address
