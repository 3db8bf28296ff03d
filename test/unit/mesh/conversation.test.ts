import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Conversation } from '#src/hello/conversation.ts'
import type { HelloMessage } from '#src/hello/message.ts'
import type { HelloContent } from '#src/mesh/hello-content.ts'
import { PEER_TIMINGS } from '#src/mesh/peer-machine.ts'
import { publicKey } from './records.ts'

const KEY = publicKey(2)
const NOTHING: HelloContent = { accepts: undefined, steers: false, parked: false }
const ACCEPTS: HelloContent = { accepts: 'a'.repeat(32), steers: false, parked: false }
const STEERS: HelloContent = { accepts: 'a'.repeat(32), steers: true, parked: false }

/** What a peer of session 7 says that has heard `heard` of us. */
const letter = (fields: Partial<HelloMessage> = {}): HelloMessage => ({
  session: 7n,
  revision: 1,
  heardSession: 0n,
  heardRevision: 0,
  wantsAnswer: false,
  content: ACCEPTS,
  ...fields,
})

const talking = (content = ACCEPTS, now = 0): Conversation => {
  const conversation = new Conversation(1n)
  conversation.say(content, now)
  return conversation
}

/** Says what is due until nothing is, or the time is over. @returns when something was said */
function sayUntil(conversation: Conversation, end: number): number[] {
  const times: number[] = []
  while (conversation.nextAt <= end) {
    const now = conversation.nextAt
    times.push(now)
    conversation.take(now)
  }
  return times
}

describe('what is said', () => {
  test('is nothing while there is nothing to say', () => {
    const conversation = new Conversation(1n)
    expect(conversation.nextAt).toBe(Number.POSITIVE_INFINITY)
    expect(conversation.take(0)).toBeUndefined()
    conversation.hear(letter({ wantsAnswer: true }), KEY, 0)
    expect(conversation.nextAt).toBe(Number.POSITIVE_INFINITY)
  })

  test('is repeated ever more slowly, for as long as nobody answers', () => {
    expect(sayUntil(talking(), 20_000)).toEqual([0, 250, 750, 1_750, 3_750, 7_750, 12_750, 17_750])
  })

  test('is repeated ever more slowly without end, where it is that nothing is accepted and nothing steered', () => {
    const times = sayUntil(talking(NOTHING), 1_000_000)
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0))
    expect(gaps).toEqual(Array.from({ length: 11 }, (_, index) => 250 * 2 ** index))
    expect(gaps.at(-1)).toBeGreaterThan(PEER_TIMINGS.silence)
  })

  test('waits for its time, where the other side is to speak first', () => {
    expect(sayUntil(talking(ACCEPTS, 1_000), 1_500)).toEqual([1_000, 1_250])
  })

  test('begins anew, at once and in quick succession, when it changes', () => {
    const conversation = talking()
    sayUntil(conversation, 5_000)
    conversation.say(STEERS, 5_000)
    expect(sayUntil(conversation, 6_000)).toEqual([5_000, 5_250, 5_750])
  })

  test('goes on as it was when the same is said again', () => {
    const conversation = talking()
    conversation.take(0)
    conversation.say({ ...ACCEPTS }, 0)
    expect(conversation.nextAt).toBe(250)
  })

  test('begins anew with the same for who counts only what is heard from now on, so that the other side answers', () => {
    const conversation = talking()
    sayUntil(conversation, 5_000)
    conversation.say(ACCEPTS, 6_000, 6_000)
    expect(sayUntil(conversation, 6_300)).toEqual([6_000, 6_250])
    conversation.say(ACCEPTS, 6_400, 6_000)
    expect(sayUntil(conversation, 6_500)).toEqual([])
  })

  test('carries a revision that grows with each change and not with each repetition', () => {
    const conversation = talking()
    const revisions = [conversation.take(0), conversation.take(250)].map(message => message?.revision)
    conversation.say(STEERS, 300)
    expect([...revisions, conversation.take(300)?.revision]).toEqual([1, 1, 2])
  })

  test('ends when the other side has heard it', () => {
    const conversation = talking()
    conversation.take(0)
    conversation.hear(letter({ heardSession: 1n, heardRevision: 1 }), KEY, 100)
    expect(conversation.nextAt).toBe(Number.POSITIVE_INFINITY)
    expect(conversation.heard).toMatchObject({ ...ACCEPTS, key: KEY, knowsOurs: true, at: 100 })
  })

  test('does not end when an older word of ours was heard, or one of an earlier session', () => {
    const conversation = talking()
    conversation.say(STEERS, 0)
    conversation.hear(letter({ heardSession: 1n, heardRevision: 1 }), KEY, 0)
    expect(conversation.heard?.knowsOurs).toBe(false)
    conversation.hear(letter({ heardSession: 99n, heardRevision: 2 }), KEY, 0)
    expect(conversation.heard?.knowsOurs).toBe(false)
    expect(conversation.nextAt).toBe(0)
  })
})

describe('an answer', () => {
  const settled = (): Conversation => {
    const conversation = talking()
    conversation.take(0)
    conversation.hear(letter({ heardSession: 1n, heardRevision: 1 }), KEY, 0)
    return conversation
  }

  test('is asked for until it is known that we were heard', () => {
    const conversation = talking()
    expect(conversation.take(0)?.wantsAnswer).toBe(true)
    conversation.hear(letter({ heardSession: 1n, heardRevision: 1 }), KEY, 0)
    expect(conversation.take(0)?.wantsAnswer).toBe(false)
  })

  test('is given at once to whoever asks, though nothing is new', () => {
    const conversation = settled()
    const asks = letter({ heardSession: 1n, heardRevision: 1, wantsAnswer: true })
    expect(conversation.hear(asks, KEY, 500)).toBe(true)
    expect(conversation.nextAt).toBe(500)
    expect(conversation.take(500)).toMatchObject({ heardSession: 7n, heardRevision: 1, wantsAnswer: false })
    expect(conversation.nextAt).toBe(Number.POSITIVE_INFINITY)
  })

  test('that does not ask for one itself is not answered: two that know each other are silent', () => {
    const conversation = settled()
    expect(conversation.hear(letter({ heardSession: 1n, heardRevision: 1 }), KEY, 500)).toBe(false)
    expect(conversation.nextAt).toBe(Number.POSITIVE_INFINITY)
  })
})

describe('what is heard', () => {
  test('is the latest revision, in whatever order letters arrive', () => {
    const conversation = talking()
    conversation.hear(letter({ revision: 3, content: STEERS }), KEY, 10)
    expect(conversation.hear(letter({ revision: 2, content: NOTHING }), KEY, 20)).toBe(false)
    expect(conversation.heard).toMatchObject({ ...STEERS, at: 10 })
  })

  test('counts as heard now when the same revision comes again', () => {
    const conversation = talking()
    conversation.hear(letter(), KEY, 10)
    conversation.hear(letter(), KEY, 20)
    expect(conversation.heard?.at).toBe(20)
  })

  test('begins anew with a new session, whatever its revision: the other agent has restarted', () => {
    const conversation = talking()
    conversation.hear(letter({ revision: 9, content: STEERS, heardSession: 1n, heardRevision: 1 }), KEY, 10)
    expect(conversation.hear(letter({ session: 8n, revision: 1, content: NOTHING }), KEY, 20)).toBe(true)
    expect(conversation.heard).toMatchObject({ ...NOTHING, knowsOurs: false })
    expect(conversation.nextAt).toBe(20)
  })

  test('is never a letter of the session before, which comes late', () => {
    const conversation = talking()
    conversation.hear(letter({ revision: 9, content: STEERS }), KEY, 10)
    conversation.hear(letter({ session: 8n, content: NOTHING }), KEY, 20)
    expect(conversation.hear(letter({ revision: 10, content: STEERS }), KEY, 30)).toBe(false)
    expect(conversation.heard).toMatchObject(NOTHING)
  })

  test('is again the session that was replaced where it goes on for longer than a letter may take: what replaced it was late', () => {
    const conversation = talking()
    conversation.hear(letter({ session: 8n, content: STEERS }), KEY, 10)
    conversation.hear(letter({ revision: 9, content: STEERS }), KEY, 20)
    conversation.hear(letter({ session: 8n, revision: 2, content: NOTHING }), KEY, 5_000)
    expect(conversation.heard).toMatchObject(STEERS)
    conversation.hear(letter({ session: 8n, revision: 2, content: NOTHING }), KEY, 10_020)
    expect(conversation.heard).toMatchObject(NOTHING)
  })

  test('is news when the same comes under another key', () => {
    const conversation = talking()
    conversation.hear(letter(), KEY, 10)
    expect(conversation.hear(letter(), publicKey(3), 20)).toBe(true)
    expect(conversation.heard?.key).toBe(publicKey(3))
  })
})

describe('two that talk over a network that loses and reorders', () => {
  /** @returns whether both know all in the end, and how many letters it took */
  function converse(delivers: (letter: number) => boolean, reverses: boolean): { agree: boolean; letters: number } {
    const [one, other] = [new Conversation(1n), new Conversation(2n)]
    one.say(ACCEPTS, 0)
    other.say(STEERS, 0)
    let letters = 0
    for (let now = 0; now < 120_000; now += 250) {
      const post: (() => void)[] = []
      for (const [from, to] of [
        [one, other],
        [other, one],
      ] as const) {
        const message = from.nextAt <= now ? from.take(now) : undefined
        if (message && delivers(letters++)) post.push(() => to.hear(message, KEY, now))
      }
      for (const deliver of reverses ? post.toReversed() : post) deliver()
    }
    return { agree: one.heard?.knowsOurs === true && other.heard?.knowsOurs === true, letters }
  }

  test('agree, and fall silent, once the network delivers again, whatever it lost before', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 20 }), fc.boolean(), (fates, reverses) => {
        const { agree, letters } = converse(number => fates[number] ?? true, reverses)
        expect(agree).toBe(true)
        expect(letters).toBeLessThan(fates.length + 12)
      }),
    )
  })
})
