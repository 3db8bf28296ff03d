import type { PublicKey } from '#keys/public-key.ts'
import { Conversation } from '#src/hello/conversation.ts'
import type { HelloMessage } from '#src/hello/message.ts'
import type { HeardHello, HelloContent } from '#src/mesh/hello-content.ts'

/** What of a conversation decides how it goes on. */
export interface TalkState {
  readonly session: bigint
  readonly said: HelloContent | undefined
  readonly revision: number
  readonly repetitions: number
  readonly heard: HelloMessage | undefined
  readonly heardKey: PublicKey | undefined
  readonly heardAt: number
  readonly bygone: bigint | undefined
  readonly nextAt: number
}

/** A real conversation that can be copied and looked into: it keeps what was done to it, and does it again to the copy. */
export class Talk {
  readonly #conversation: Conversation
  readonly #session: bigint
  readonly #done: ((talk: Talk) => void)[] = []
  #said: HelloContent | undefined
  #waitingSince: number | undefined
  #revision = 0
  #repetitions = 0
  #last: HelloMessage | undefined
  #lastKey: PublicKey | undefined
  #bygone: bigint | undefined

  constructor(session: bigint) {
    this.#session = session
    this.#conversation = new Conversation(session)
  }

  get heard(): HeardHello | undefined {
    return this.#conversation.heard
  }

  get nextAt(): number {
    return this.#conversation.nextAt
  }

  get state(): TalkState {
    return {
      session: this.#session,
      said: this.#said,
      revision: this.#revision,
      repetitions: this.#repetitions,
      heard: this.#last,
      heardKey: this.#lastKey,
      heardAt: this.heard?.at ?? 0,
      bygone: this.#bygone,
      nextAt: this.nextAt,
    }
  }

  say(content: HelloContent, notBefore: number, waitingSince?: number): void {
    this.#done.push(talk => talk.say(content, notBefore, waitingSince))
    this.#conversation.say(content, notBefore, waitingSince)
    const waitsAnew = waitingSince !== undefined && waitingSince !== this.#waitingSince
    this.#waitingSince = waitingSince ?? this.#waitingSince
    if (!waitsAnew && JSON.stringify(this.#said) === JSON.stringify(content)) return
    this.#said = content
    this.#revision++
    this.#repetitions = 0
  }

  hear(message: HelloMessage, key: PublicKey, now: number): void {
    this.#done.push(talk => talk.hear(message, key, now))
    this.#conversation.hear(message, key, now)
    const last = this.#last
    if (message.session === this.#bygone) return
    if (last?.session === message.session && message.revision < last.revision) return
    if (last && last.session !== message.session) this.#bygone = last.session
    this.#last = message
    this.#lastKey = key
  }

  take(now: number): HelloMessage | undefined {
    this.#done.push(talk => void talk.take(now))
    this.#repetitions++
    return this.#conversation.take(now)
  }

  clone(): Talk {
    const copy = new Talk(this.#session)
    for (const again of this.#done) again(copy)
    return copy
  }
}
