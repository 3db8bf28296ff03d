import type { PublicKey } from '#keys/public-key.ts'
import type { HeardHello, HelloContent } from '#src/mesh/hello-content.ts'
import type { HelloMessage } from './message.ts'

/** Milliseconds between hellos that the other side has not answered: first, and at most. */
const FIRST_GAP = 250
const LONGEST_GAP = 5_000
/** Milliseconds for which a datagram may be on its way. */
const LONGEST_WAY = 10_000

/**
 * What is said to one peer and heard from it. A change is repeated, ever more slowly, until the peer says that it has
 * heard it; after that the conversation is silent. Pure but for its own memory: the caller gives the time and sends.
 */
export class Conversation {
  readonly #session: bigint
  #ours: { content: HelloContent; revision: number; waitingSince: number | undefined } | undefined
  #theirs: { message: HelloMessage; key: PublicKey; at: number } | undefined
  #heard: { readonly of: unknown; readonly hello: HeardHello } | undefined
  /** A session that was replaced. What arrives of it soon is late; later on it is the one that replaced it which was. */
  #bygone: { readonly session: bigint; readonly since: number } | undefined
  #nextAt = Number.POSITIVE_INFINITY
  #gap = FIRST_GAP

  constructor(session: bigint) {
    this.#session = session
  }

  /**
   * What we say from now on; repeated from `notBefore` on, milliseconds, when it is news.
   * @param waitingSince milliseconds; only what is heard later counts, and so the same content is news as well
   */
  say(content: HelloContent, notBefore: number, waitingSince?: number): void {
    const before = this.#ours
    const waitsAnew = waitingSince !== undefined && waitingSince !== before?.waitingSince
    if (before && sameContent(before.content, content) && !waitsAnew) return
    this.#ours = {
      content,
      revision: (before?.revision ?? 0) + 1,
      waitingSince: waitingSince ?? before?.waitingSince,
    }
    this.#gap = FIRST_GAP
    this.#nextAt = notBefore
  }

  /** Takes in what arrived under a key. @returns whether it was news, or wants an answer */
  hear(message: HelloMessage, key: PublicKey, now: number): boolean {
    const last = this.#theirs?.message
    if (message.session === this.#bygone?.session && now - this.#bygone.since < LONGEST_WAY) return false
    if (last?.session === message.session && message.revision < last.revision) return false
    if (last !== undefined && last.session !== message.session) this.#bygone = { session: last.session, since: now }
    const news = last?.session !== message.session || last.revision !== message.revision || this.#theirs?.key !== key
    const knewOurs = this.#knowsOurs()
    this.#theirs = { message, key, at: now }
    const knowsOurs = this.#knowsOurs()
    if (message.wantsAnswer || !knowsOurs) this.#nextAt = Math.min(this.#nextAt, now)
    else this.#nextAt = Number.POSITIVE_INFINITY
    return news || message.wantsAnswer || knewOurs !== knowsOurs
  }

  /** When the next hello is due, milliseconds; infinite while there is nothing to say. */
  get nextAt(): number {
    return this.#ours ? this.#nextAt : Number.POSITIVE_INFINITY
  }

  /** The hello to send now, and the next one is planned. Undefined while there is nothing to say. */
  take(now: number): HelloMessage | undefined {
    if (!this.#ours) return undefined
    this.#nextAt = this.#knowsOurs() ? Number.POSITIVE_INFINITY : now + this.#gap
    this.#gap = Math.min(this.#gap * 2, isFarewell(this.#ours.content) ? Number.POSITIVE_INFINITY : LONGEST_GAP)
    return {
      session: this.#session,
      revision: this.#ours.revision,
      heardSession: this.#theirs?.message.session ?? 0n,
      heardRevision: this.#theirs?.message.revision ?? 0,
      wantsAnswer: !this.#knowsOurs(),
      content: this.#ours.content,
    }
  }

  /** The same object while nothing else was heard. */
  get heard(): HeardHello | undefined {
    const theirs = this.#theirs
    if (!theirs) return undefined
    const knowsOurs = this.#knowsOurs()
    if (this.#heard?.of !== theirs || this.#heard.hello.knowsOurs !== knowsOurs) {
      const { message, key, at } = theirs
      this.#heard = { of: theirs, hello: { ...message.content, key, at, knowsOurs } }
    }
    return this.#heard.hello
  }

  /** Of whom we hear; undefined before that. */
  get theirSession(): bigint | undefined {
    return this.#theirs?.message.session
  }

  #knowsOurs(): boolean {
    const message = this.#theirs?.message
    return message?.heardSession === this.#session && message.heardRevision === this.#ours?.revision
  }
}

/**
 * Nothing is waited for but that it is heard. A node without an agent refuses each hello by a packet of its own, and does not
 * fall silent until the gaps are longer than it takes to be called so.
 */
const isFarewell = ({ accepts, steers }: HelloContent): boolean => accepts === undefined && !steers

const sameContent = (a: HelloContent, b: HelloContent): boolean =>
  a.accepts === b.accepts && a.steers === b.steers && a.parked === b.parked
