import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PublicKey } from '#keys/public-key.ts'
import type { HeardHello } from '#src/mesh/hello-content.ts'
import {
  ABSENT,
  type ObservedPeer,
  PEER_TIMINGS,
  type PeerFacts,
  type PeerState,
  type Phase,
  type Standing,
  stepPeer,
} from '#src/mesh/peer-machine.ts'
import { parseAddress } from '#wg/ip.ts'
import { publicKey } from './records.ts'

const KEY = publicKey(2)
const NEW_KEY = publicKey(3)
const THIRD_KEY = publicKey(4)
const HELLO_ADDRESS = parseAddress('10.244.2.1')
/** Digest of what we publish. */
const OURS = 'a'.repeat(32)
const OTHERS = 'b'.repeat(32)
/** When the states below began, and when the step happens. */
const BEGAN = 10_000
const NOW = 20_000

const member = (key: PublicKey = KEY): Standing => ({ takesPart: true, key, helloAddress: HELLO_ADDRESS })
const felixMember = (key: PublicKey = KEY): Standing => ({ takesPart: true, key, helloAddress: undefined })
const GONE: Standing = { takesPart: false, reason: 'it announces no WireGuard key' }

const seen = (fields: Partial<ObservedPeer> = {}): ObservedPeer => ({
  latestHandshake: 0n,
  rxBytes: 0n,
  endpointIsPublished: true,
  ...fields,
})

const hello = (fields: Partial<HeardHello> = {}): HeardHello => ({
  key: KEY,
  accepts: OURS,
  steers: false,
  parked: false,
  knowsOurs: true,
  at: NOW - 1,
  ...fields,
})

const facts = (fields: Partial<PeerFacts> = {}): PeerFacts => ({
  now: NOW,
  standing: member(),
  observed: new Map([[KEY, seen()]]),
  hello: undefined,
  published: OURS,
  parked: false,
  replaced: false,
  ...fields,
})

const common = { since: BEGAN, key: KEY, helloAddress: HELLO_ADDRESS, reason: 'as it was' }
const accepting: PeerState = { ...common, phase: 'accepting', candidate: undefined, baseline: 5n, parked: false }
const parked: PeerState = { ...accepting, parked: true }
const encrypting: PeerState = { ...common, phase: 'encrypting', candidate: undefined }
const lingering: PeerState = { ...common, phase: 'lingering', lastData: BEGAN, rxBytes: 0n, agreedAt: undefined }
const felix = { helloAddress: undefined }

const observing = (...peers: [PublicKey, Partial<ObservedPeer>][]): Pick<PeerFacts, 'observed'> => ({
  observed: new Map(peers.map(([key, fields]) => [key, seen(fields)])),
})

interface Row {
  readonly event: string
  readonly state: PeerState
  readonly facts: PeerFacts
  readonly then: { readonly phase: Phase; readonly key?: PublicKey; readonly candidate?: PublicKey | undefined }
}

const row = (event: string, state: PeerState, given: Partial<PeerFacts>, then: Row['then']): Row => ({
  event,
  state,
  facts: facts(given),
  then,
})

const ACCEPTING = { phase: 'accepting', key: KEY, candidate: undefined } as const
const ENCRYPTING = { phase: 'encrypting', key: KEY, candidate: undefined } as const

const outOfAbsent: Row[] = [
  row('it announces no key', ABSENT, { standing: GONE }, { phase: 'absent' }),
  row('its key is seen', ABSENT, { observed: new Map() }, ACCEPTING),
  row(
    'its key is seen and is on the device already, with an old handshake',
    ABSENT,
    observing([KEY, { latestHandshake: 9n }]),
    ACCEPTING,
  ),
  row('its key is seen with a hello that fits', ABSENT, { hello: hello() }, ACCEPTING),
]

const outOfAccepting: Row[] = [
  row('nothing happens', accepting, {}, ACCEPTING),
  row('a hello says that it accepts all that we publish', accepting, { hello: hello() }, ENCRYPTING),
  row('a hello says that it accepts something else', accepting, { hello: hello({ accepts: OTHERS }) }, ACCEPTING),
  row('a hello says that it accepts nothing', accepting, { hello: hello({ accepts: undefined }) }, ACCEPTING),
  row(
    'a hello says that it steers, and accepts nothing',
    accepting,
    { hello: hello({ accepts: undefined, steers: true }) },
    ACCEPTING,
  ),
  row('a hello that fits is from before', accepting, { hello: hello({ at: BEGAN - 1 }) }, ACCEPTING),
  row('a hello that fits came under another key', accepting, { hello: hello({ key: NEW_KEY }) }, ACCEPTING),
  row(
    'a hello that fits, while our own key is not published',
    accepting,
    { hello: hello(), published: undefined },
    ACCEPTING,
  ),
  row('a hello that fits, while its traffic keeps off', accepting, { hello: hello(), parked: true }, ACCEPTING),
  row('it need not keep off any more', parked, { now: NOW, hello: hello() }, ACCEPTING),
  row(
    'a hello that fits, while it is not on the device',
    accepting,
    { hello: hello(), observed: new Map() },
    ACCEPTING,
  ),
  row(
    'a handshake alone, of a node that speaks hello',
    accepting,
    observing([KEY, { latestHandshake: 99n }]),
    ACCEPTING,
  ),
  row('its key is withdrawn', accepting, { standing: GONE }, { phase: 'lingering', key: KEY }),
  row('another key is announced', accepting, { standing: member(NEW_KEY) }, { ...ACCEPTING, candidate: NEW_KEY }),
  row(
    'another key is announced, and a hello that fits comes under the old one',
    accepting,
    { standing: member(NEW_KEY), hello: hello() },
    { ...ACCEPTING, candidate: NEW_KEY },
  ),
  row(
    'a candidate completes a handshake from one of its addresses',
    { ...accepting, candidate: NEW_KEY },
    { standing: member(NEW_KEY), ...observing([KEY, {}], [NEW_KEY, { latestHandshake: 7n }]) },
    { ...ACCEPTING, key: NEW_KEY },
  ),
  row(
    'a candidate completes a handshake from an address that is not its',
    { ...accepting, candidate: NEW_KEY },
    {
      standing: member(NEW_KEY),
      ...observing([KEY, {}], [NEW_KEY, { latestHandshake: 7n, endpointIsPublished: false }]),
    },
    { ...ACCEPTING, candidate: NEW_KEY },
  ),
  row(
    'the old key returns before the candidate has proven itself',
    { ...accepting, candidate: NEW_KEY },
    { hello: hello() },
    ENCRYPTING,
  ),
  row(
    'a Felix node: no handshake yet',
    { ...accepting, ...felix, baseline: 0n },
    { standing: felixMember() },
    ACCEPTING,
  ),
  row(
    'a Felix node: the handshake that was there when it was added',
    { ...accepting, ...felix },
    { standing: felixMember(), ...observing([KEY, { latestHandshake: 5n }]) },
    ACCEPTING,
  ),
  row(
    'a Felix node: a later handshake',
    { ...accepting, ...felix },
    { standing: felixMember(), ...observing([KEY, { latestHandshake: 6n }]) },
    ENCRYPTING,
  ),
  row(
    'a Felix node: a handshake after our clock was set back',
    { ...accepting, ...felix },
    { standing: felixMember(), ...observing([KEY, { latestHandshake: 4n }]) },
    ENCRYPTING,
  ),
  row(
    'a Felix node: the device was made anew, and its handshakes with it',
    { ...accepting, ...felix },
    { standing: felixMember(), ...observing([KEY, { latestHandshake: 0n }]) },
    ACCEPTING,
  ),
  row(
    'a Felix node: first seen on the device with a handshake of old',
    { ...accepting, ...felix, baseline: undefined },
    { standing: felixMember(), ...observing([KEY, { latestHandshake: 5n }]) },
    ACCEPTING,
  ),
  row(
    'a Felix node: a later handshake, while our own key is not published',
    { ...accepting, ...felix },
    { standing: felixMember(), published: undefined, ...observing([KEY, { latestHandshake: 6n }]) },
    ACCEPTING,
  ),
]

const longStopped = (fields: Partial<HeardHello> = {}) =>
  hello({ accepts: undefined, at: NOW - PEER_TIMINGS.notice, ...fields })

const outOfEncrypting: Row[] = [
  row('its traffic goes by its other device', encrypting, { parked: true }, ACCEPTING),
  row('silence, however long', encrypting, { now: NOW + 1e9 }, ENCRYPTING),
  row('it is gone from the device', encrypting, { observed: new Map() }, ENCRYPTING),
  row('a hello says that it accepts something else', encrypting, { hello: hello({ accepts: OTHERS }) }, ENCRYPTING),
  row('a hello says that it stops', encrypting, { hello: hello({ accepts: undefined }) }, ENCRYPTING),
  row('a hello has said for a while that it stops', encrypting, { hello: longStopped() }, ACCEPTING),
  row(
    'a hello has said for a while that it stops, and another key waits',
    { ...encrypting, candidate: NEW_KEY },
    { standing: member(NEW_KEY), hello: longStopped() },
    { ...ACCEPTING, candidate: NEW_KEY },
  ),
  row('that it stops was said before', encrypting, { hello: longStopped({ at: BEGAN - 1 }) }, ENCRYPTING),
  row('that it stops was said under another key', encrypting, { hello: longStopped({ key: NEW_KEY }) }, ENCRYPTING),
  row(
    'a hello has said for a while that it accepts something else',
    encrypting,
    { hello: longStopped({ accepts: OTHERS }) },
    ENCRYPTING,
  ),
  row(
    'its agent has restarted and knows nothing of us',
    encrypting,
    { hello: hello({ accepts: undefined, knowsOurs: false }) },
    ENCRYPTING,
  ),
  row('our own key is not published', encrypting, { published: undefined }, ENCRYPTING),
  row('its key is withdrawn', encrypting, { standing: GONE }, { phase: 'lingering', key: KEY }),
  row(
    'another key is announced, be it forged',
    encrypting,
    { standing: member(NEW_KEY) },
    { ...ENCRYPTING, candidate: NEW_KEY },
  ),
  row(
    'a candidate that never completes a handshake',
    { ...encrypting, candidate: NEW_KEY },
    { now: NOW + 1e9, standing: member(NEW_KEY), ...observing([KEY, {}], [NEW_KEY, {}]) },
    { ...ENCRYPTING, candidate: NEW_KEY },
  ),
  row(
    'a candidate completes a handshake from one of its addresses',
    { ...encrypting, candidate: NEW_KEY },
    { standing: member(NEW_KEY), ...observing([KEY, {}], [NEW_KEY, { latestHandshake: 7n }]) },
    { ...ENCRYPTING, key: NEW_KEY },
  ),
  row(
    'a candidate completes a handshake from elsewhere',
    { ...encrypting, candidate: NEW_KEY },
    {
      standing: member(NEW_KEY),
      ...observing([KEY, {}], [NEW_KEY, { latestHandshake: 7n, endpointIsPublished: false }]),
    },
    { ...ENCRYPTING, candidate: NEW_KEY },
  ),
  row(
    'a key that was never a candidate has a handshake already',
    encrypting,
    { standing: member(NEW_KEY), ...observing([KEY, {}], [NEW_KEY, { latestHandshake: 7n }]) },
    { ...ENCRYPTING, candidate: NEW_KEY },
  ),
  row('the old key returns', { ...encrypting, candidate: NEW_KEY }, {}, ENCRYPTING),
  row(
    'a third key takes the place of a candidate',
    { ...encrypting, candidate: NEW_KEY },
    { standing: member(THIRD_KEY), ...observing([KEY, {}], [NEW_KEY, { latestHandshake: 7n }]) },
    { ...ENCRYPTING, candidate: THIRD_KEY },
  ),
]

const agreed: PeerState = { ...lingering, lastData: NOW, agreedAt: NOW - PEER_TIMINGS.courtesy }
const LINGERING = { phase: 'lingering', key: KEY } as const
const stopped = (fields: Partial<HeardHello> = {}) => ({
  standing: GONE,
  hello: hello({ accepts: undefined, ...fields }),
})

const outOfLingering: Row[] = [
  row('nothing is heard for a while', lingering, { standing: GONE }, LINGERING),
  row('it has stopped and knows that we have', lingering, stopped(), LINGERING),
  row('it has stopped and knows that we have, for a while now', agreed, stopped(), { phase: 'absent' }),
  row('both send by the other device', lingering, { standing: GONE, replaced: true }, LINGERING),
  row(
    'both have sent by the other device for a while',
    { ...lingering, agreedAt: NOW - PEER_TIMINGS.courtesy },
    { standing: GONE, replaced: true },
    { phase: 'absent' },
  ),
  row('it still steers', agreed, stopped({ steers: true }), LINGERING),
  row('it does not know yet that we have stopped', agreed, stopped({ knowsOurs: false }), LINGERING),
  row('that it has stopped was said under another key', agreed, stopped({ key: NEW_KEY }), LINGERING),
  row(
    'it is silent for longer than a session lives',
    lingering,
    { standing: GONE, now: BEGAN + PEER_TIMINGS.silence },
    { phase: 'absent' },
  ),
  row(
    'it sends, however long it was silent before',
    lingering,
    { standing: GONE, now: BEGAN + PEER_TIMINGS.silence, ...observing([KEY, { rxBytes: 64n }]) },
    LINGERING,
  ),
  ...[32n, 148n, 92n, 180n, 124n].map(rxBytes =>
    row(
      `its device sends keepalives and handshakes, and nothing else: ${rxBytes} bytes`,
      lingering,
      { standing: GONE, now: BEGAN + PEER_TIMINGS.silence, ...observing([KEY, { rxBytes }]) },
      { phase: 'absent' },
    ),
  ),
  row('its key is seen again', lingering, {}, ACCEPTING),
  row('another key is announced', lingering, { standing: member(NEW_KEY) }, { ...ACCEPTING, candidate: NEW_KEY }),
  row('its key is seen again, with a hello of old', lingering, { hello: hello({ at: BEGAN }) }, ACCEPTING),
]

describe.each([
  { phase: 'absent', rows: outOfAbsent },
  { phase: 'accepting', rows: outOfAccepting },
  { phase: 'encrypting', rows: outOfEncrypting },
  { phase: 'lingering', rows: outOfLingering },
])('a peer that is $phase', ({ rows }) => {
  test.each(rows)('$event: $then.phase', ({ state, facts: given, then }) => {
    expect(stepPeer(state, given)).toMatchObject(then)
  })
})

describe('why a peer is not encrypted', () => {
  test.each<[string, Partial<PeerFacts>]>([
    ['our own key is not published yet', { published: undefined }],
    ['not on the device yet', { observed: new Map() }],
    ['no handshake yet: is UDP to its WireGuard port blocked?', {}],
    ['no hello from its agent yet', observing([KEY, { latestHandshake: 5n }])],
    ['it does not accept from us yet', { hello: hello({ accepts: undefined }) }],
    ['it accepts other addresses from us than we publish', { hello: hello({ accepts: OTHERS }) }],
    ['it announced another key, which has not completed a handshake', { standing: member(NEW_KEY) }],
  ])('is said in a sentence: %s', (reason, given) => {
    expect(stepPeer(accepting, facts(given)).reason).toBe(reason)
  })
})

describe('the whole machine, over all that it may be shown', () => {
  const keys = fc.constantFrom(KEY, NEW_KEY, THIRD_KEY)
  const times = fc.constantFrom(0, BEGAN - 1, BEGAN, NOW, NOW + PEER_TIMINGS.courtesy, NOW + PEER_TIMINGS.silence)
  const observed = fc.record({
    latestHandshake: fc.constantFrom(0n, 4n, 5n, 6n),
    rxBytes: fc.constantFrom(0n, 1n),
    endpointIsPublished: fc.boolean(),
  })
  const anyFacts: fc.Arbitrary<PeerFacts> = fc.record({
    now: fc.constantFrom(NOW, NOW + PEER_TIMINGS.courtesy, NOW + PEER_TIMINGS.silence),
    standing: fc.oneof(
      fc.constant(GONE),
      fc.record({
        takesPart: fc.constant(true as const),
        key: keys,
        helloAddress: fc.constantFrom(HELLO_ADDRESS, undefined),
      }),
    ),
    observed: fc.array(fc.tuple(keys, observed), { maxLength: 3 }).map(all => new Map(all)),
    hello: fc.option(
      fc.record({
        key: keys,
        accepts: fc.constantFrom(OURS, OTHERS, undefined),
        steers: fc.boolean(),
        parked: fc.boolean(),
        knowsOurs: fc.boolean(),
        at: times,
      }),
      { nil: undefined },
    ),
    published: fc.constantFrom(OURS, undefined),
    parked: fc.boolean(),
    replaced: fc.boolean(),
  })
  const history = fc.array(anyFacts, { minLength: 1, maxLength: 12 })
  const walk = (all: readonly PeerFacts[]): { before: PeerState; facts: PeerFacts; after: PeerState }[] => {
    let state = ABSENT
    return all.map(given => {
      const before = state
      state = stepPeer(before, given)
      return { before, facts: given, after: state }
    })
  }
  const always = (holds: (step: ReturnType<typeof walk>[number]) => void): void =>
    fc.assert(
      fc.property(history, all => walk(all).forEach(holds)),
      { numRuns: 3_000 },
    )

  test('the same facts again change nothing more, after a few steps', () => {
    always(({ after, facts: given }) => {
      let state = after
      for (let i = 0; i < 3; i++) state = stepPeer(state, given)
      expect(stepPeer(state, given)).toBe(state)
    })
  })

  test('encryption begins only with proof under the very key that is steered to', () => {
    always(({ before, facts: { hello: heard, observed: peers, published, standing }, after }) => {
      if (before.phase === 'encrypting' || after.phase !== 'encrypting') return
      expect(before.phase).toBe('accepting')
      expect(standing.takesPart && standing.key).toBe(after.key)
      expect(published).toBe(OURS)
      if (after.helloAddress !== undefined) expect(heard).toMatchObject({ key: after.key, accepts: OURS })
      else expect(peers.get(after.key)?.latestHandshake).not.toBe(0n)
    })
  })

  test('a device is left only when the peer takes no part any more, says so, or is to go by its other device', () => {
    always(({ before, facts: { standing, parked, hello: heard }, after }) => {
      if (before.phase !== 'encrypting' || after.phase === 'encrypting') return
      expect(after.phase).toBe(standing.takesPart ? 'accepting' : 'lingering')
      if (standing.takesPart && !parked) expect(heard).toMatchObject({ key: before.key, accepts: undefined })
    })
  })

  test('what arrives is never taken for silence, whatever keepalives come with it', () => {
    const size = fc.integer({ min: 20, max: 1420 }).map(bytes => BigInt(32 + Math.ceil(bytes / 16) * 16))
    const idle = fc.constantFrom(0n, 32n, 92n, 148n, 180n, 124n)
    fc.assert(
      fc.property(size, idle, (data, beside) => {
        const given = facts({ standing: GONE, ...observing([KEY, { rxBytes: data + beside }]) })
        expect(stepPeer(lingering, given)).toMatchObject({ phase: 'lingering', lastData: NOW })
      }),
    )
  })

  test('allowed IPs move to another key only after its handshake from one of its own addresses', () => {
    always(({ before, facts: { observed: peers }, after }) => {
      if (before.phase === 'absent' || after.phase === 'absent' || before.key === after.key) return
      expect('candidate' in before && before.candidate).toBe(after.key)
      expect(peers.get(after.key)?.endpointIsPublished).toBe(true)
      expect(peers.get(after.key)?.latestHandshake).not.toBe(0n)
    })
  })

  test('a peer is removed only after lingering', () => {
    always(({ before, after }) => {
      if (after.phase === 'absent') expect(['absent', 'lingering']).toContain(before.phase)
    })
  })

  test('every state says why', () => {
    always(({ after }) => expect(after.reason).not.toBe(''))
  })
})
