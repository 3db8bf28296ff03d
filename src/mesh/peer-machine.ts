import type { PublicKey } from '#keys/public-key.ts'
import type { IpAddress } from '#wg/ip.ts'
import type { Digest, HeardHello } from './hello-content.ts'
import type { NodeName } from './node-record.ts'

/**
 * The state of one pair of nodes in one family, as this side has it. docs/peer-states.md has the table.
 *
 *     absent ──key seen──▶ accepting ──proof──▶ encrypting ──stop──▶ lingering ──▶ absent
 *
 * `key` is the peer that holds the allowed IPs; `candidate` a key that the node has announced since, which gets them
 * only when it has completed a handshake.
 */
export type PeerState =
  | { readonly phase: 'absent'; readonly reason: string; readonly contested?: Contested | undefined }
  | (Present & {
      readonly phase: 'accepting'
      readonly candidate: PublicKey | undefined
      /** Handshake time (ns) when the peer was first seen on the device; another one is news. Undefined until then. */
      readonly baseline: bigint | undefined
      /** The pair's traffic keeps off this device: no proof counts. */
      readonly parked: boolean
    })
  | (Present & {
      readonly phase: 'encrypting'
      readonly candidate: PublicKey | undefined
    })
  | (Present & {
      readonly phase: 'lingering'
      /** When the other side was last known to send, or when lingering began. */
      readonly lastData: number
      readonly rxBytes: bigint
      /** When it was agreed that nobody steers any more. */
      readonly agreedAt: number | undefined
    })

/**
 * A key that several nodes announce. It is on the device without addresses and is not dialled, so that its endpoint can only
 * be where it has shaken hands from.
 */
export interface Contested {
  readonly key: PublicKey
  /** Handshake time (ns) when it was first seen on the device. */
  readonly baseline: bigint | undefined
}

/** What the states of a peer that is on the device have in common. */
interface Present {
  /** When the phase began, in the agent's milliseconds. */
  readonly since: number
  readonly key: PublicKey
  /** Where its hello is spoken; undefined for a Felix node. Remembered, because a node that leaves withdraws it. */
  readonly helloAddress: IpAddress | undefined
  readonly reason: string
}

export type Phase = PeerState['phase']

export type PeerStates = ReadonlyMap<NodeName, PeerState>

/** What the device says of one key. */
export interface ObservedPeer {
  /** Unix nanoseconds, 0n for never. */
  readonly latestHandshake: bigint
  readonly rxBytes: bigint
  /** The endpoint that authenticated last is one of the node's published addresses. */
  readonly endpointIsPublished: boolean
  /** It has no endpoint yet: its node publishes no address of the family, and must be heard from first. */
  readonly mustCall?: boolean
}

/** Whether the node takes part in the mesh, and why not. */
export type Standing =
  | { readonly takesPart: true; readonly key: PublicKey; readonly helloAddress: IpAddress | undefined }
  | {
      readonly takesPart: false
      readonly reason: string
      /** Its key, where others announce it as well and nothing tells yet whose it is. */
      readonly contested?: PublicKey
    }

/** Everything that the machine may look at. */
export interface PeerFacts {
  /** Milliseconds, monotonic. */
  readonly now: number
  readonly standing: Standing
  /** By key; a key that is not on the device yet is absent. */
  readonly observed: ReadonlyMap<PublicKey, ObservedPeer>
  readonly hello: HeardHello | undefined
  /** Digest of the addresses that we publish as ours; undefined until our own Node has been read back with our key. */
  readonly published: Digest | undefined
  /** The pair's traffic is on its other device, or is to go there: this one must prove itself anew afterwards. */
  readonly parked: boolean
  /** Both sides say that they send by the pair's other device. */
  readonly replaced: boolean
}

export interface PeerTimings {
  /** A Felix peer that has sent nothing for longer than a session lives (REJECT_AFTER_TIME is 180 s) has stopped. */
  readonly silence: number
  /** How long a peer is answered after both sides agree, so that the other side learns of the agreement. */
  readonly courtesy: number
  /**
   * How long a peer's word that it accepts nothing has to stand: a key that is put back on its Node at once is no reason to
   * stop. Less than the gap between hellos that are not answered.
   */
  readonly notice: number
}

export const PEER_TIMINGS: PeerTimings = { silence: 185_000, courtesy: 2_000, notice: 3_000 }

export const ABSENT: PeerState = { phase: 'absent', reason: 'not seen yet' }

/**
 * One step: the state that follows from a state and the facts. Pure and level-triggered: calling it again with the same
 * facts gives the same state. @returns the same object when nothing changes
 */
export function stepPeer(state: PeerState, facts: PeerFacts, timings: PeerTimings = PEER_TIMINGS): PeerState {
  switch (state.phase) {
    case 'absent':
      return fromAbsent(state, facts)
    case 'accepting':
      return fromAccepting(state, facts)
    case 'encrypting':
      return fromEncrypting(state, facts, timings)
    case 'lingering':
      return fromLingering(state, facts, timings)
  }
}

type In<P extends Phase> = Extract<PeerState, { phase: P }>

function fromAbsent(state: In<'absent'>, { now, standing, observed }: PeerFacts): PeerState {
  const before = state.contested
  // A handshake that told whose the key is came after it was put there, and is proof as well.
  if (standing.takesPart)
    return { ...accept(now, standing), baseline: before?.key === standing.key ? before.baseline : undefined }
  const { reason, contested: key } = standing
  const seen = key === undefined ? undefined : observed.get(key)?.latestHandshake
  const baseline = before?.key === key ? (before?.baseline ?? seen) : seen
  if (state.reason === reason && before?.key === key && before?.baseline === baseline) return state
  return { phase: 'absent', reason, contested: key && { key, baseline } }
}

function fromAccepting(state: In<'accepting'>, facts: PeerFacts): PeerState {
  const { standing, observed, now, parked } = facts
  if (!standing.takesPart) return linger(state, facts, standing.reason)
  const { helloAddress } = standing
  const { key, candidate } = settleKey(state, standing.key, observed)
  if (key !== state.key) return { ...accept(now, standing, 'its new key completed a handshake'), parked }
  if (parked) return changed(state, { ...state, candidate, helloAddress, parked, reason: PARKED })
  if (state.parked) return { ...accept(now, standing), key, candidate }
  const baseline = state.baseline ?? observed.get(key)?.latestHandshake
  const proof = proofOf({ ...state, baseline, helloAddress }, facts)
  // A key that its node has replaced is kept for what still arrives, and never steered to.
  if (proof.given && candidate === undefined)
    return { phase: 'encrypting', since: now, key, candidate, helloAddress, reason: proof.reason }
  const reason =
    candidate === undefined ? proof.reason : 'it announced another key, which has not completed a handshake'
  return changed(state, { ...state, candidate, helloAddress, baseline, reason })
}

function fromEncrypting(state: In<'encrypting'>, facts: PeerFacts, timings: PeerTimings): PeerState {
  const { standing, observed } = facts
  if (!standing.takesPart) return linger(state, facts, standing.reason)
  const settled = settleKey(state, standing.key, observed)
  if (facts.parked) return { ...accept(facts.now, standing, PARKED), ...settled, parked: true }
  if (saysThatItStops(state, facts, timings)) return { ...accept(facts.now, standing, STOPS), ...settled }
  return changed(state, { ...state, ...settled, helloAddress: standing.helloAddress })
}

/** Its own word, given inside the tunnel: it may be heard long before its Node is seen without a key. */
function saysThatItStops(state: In<'encrypting'>, { now, hello }: PeerFacts, { notice }: PeerTimings): boolean {
  if (hello?.key !== state.key || hello.at < state.since) return false
  return hello.accepts === undefined && now - hello.at >= notice
}

function fromLingering(state: In<'lingering'>, facts: PeerFacts, timings: PeerTimings): PeerState {
  const { now, standing, observed, hello, replaced } = facts
  if (standing.takesPart) {
    const candidate = standing.key === state.key ? undefined : standing.key
    return { ...accept(now, standing), key: state.key, candidate }
  }
  const rxBytes = observed.get(state.key)?.rxBytes ?? state.rxBytes
  const lastData = NO_DATA.has(rxBytes - state.rxBytes) ? state.lastData : now
  // The peer has heard that we accept nothing new and steers nothing to us; until both hold it may still start or send.
  const agrees = hello !== undefined && hello.key === state.key && !hello.steers && hello.knowsOurs
  const agreedAt = agrees || replaced ? (state.agreedAt ?? now) : undefined
  const over = (agreedAt !== undefined && now - agreedAt >= timings.courtesy) || now - lastData >= timings.silence
  if (over) return { phase: 'absent', reason: state.reason }
  return changed(state, { ...state, rxBytes, lastData, agreedAt })
}

/**
 * By how many bytes a device's count grows though nobody sends anything: keepalives of 32, initiations of 148 and responses
 * of 92, alone or with the keepalive that follows (sizes of WireGuard's messages, whitepaper 5.4). What carries a packet has
 * 64 at least, and a multiple of 16: two keepalives that are seen at once pass for one.
 */
const NO_DATA: ReadonlySet<bigint> = new Set([0n, 32n, 148n, 92n, 148n + 32n, 92n + 32n])

const STOPS = 'it says that it accepts nothing from us any more'

const PARKED = 'its traffic keeps off this device while the device of one side changes'

type Member = Extract<Standing, { takesPart: true }>

function accept(
  now: number,
  { key, helloAddress }: Member,
  reason = 'waiting for proof that it accepts',
): In<'accepting'> {
  const fresh = { candidate: undefined, baseline: undefined, parked: false }
  return { phase: 'accepting', since: now, key, helloAddress, reason, ...fresh }
}

function linger(state: Present, { now, observed }: PeerFacts, reason: string): PeerState {
  const { key, helloAddress } = state
  const rxBytes = observed.get(key)?.rxBytes ?? 0n
  return { phase: 'lingering', since: now, key, helloAddress, lastData: now, rxBytes, agreedAt: undefined, reason }
}

/** The old object where nothing differs, so that callers see by identity whether a step changed anything. */
function changed<State extends PeerState>(before: State, after: State): State {
  const fields = Object.keys(after) as (keyof State)[]
  return fields.every(field => before[field] === after[field]) ? before : after
}

/** The key that holds the allowed IPs, and the one that waits for them. */
function settleKey(
  state: In<'accepting' | 'encrypting'>,
  announced: PublicKey,
  observed: ReadonlyMap<PublicKey, ObservedPeer>,
): { key: PublicKey; candidate: PublicKey | undefined } {
  if (announced === state.key) return { key: state.key, candidate: undefined }
  const peer = observed.get(announced)
  const proven =
    state.candidate === announced && peer !== undefined && peer.latestHandshake > 0n && peer.endpointIsPublished
  return proven ? { key: announced, candidate: undefined } : { key: state.key, candidate: announced }
}

function proofOf(
  state: In<'accepting'>,
  { observed, hello, published }: PeerFacts,
): { given: boolean; reason: string } {
  const not = (reason: string) => ({ given: false, reason })
  if (published === undefined) return not('our own key is not published yet')
  const peer = observed.get(state.key)
  if (!peer) return not('not on the device yet')
  if (peer.mustCall && peer.latestHandshake === 0n)
    return not('it publishes no address of this family, and has not called this node yet')
  if (state.helloAddress === undefined) {
    // Another time and not a later one: handshakes are stamped by a clock that may have been set back.
    if (state.baseline !== undefined && peer.latestHandshake !== state.baseline && peer.latestHandshake > 0n)
      return { given: true, reason: 'it completed a handshake after it was added' }
    return not('no handshake since it was added: is UDP to its WireGuard port blocked?')
  }
  if (hello?.key !== state.key || hello.at < state.since)
    return not(
      peer.latestHandshake === 0n
        ? 'no handshake yet: is UDP to its WireGuard port blocked?'
        : 'no hello from its agent yet',
    )
  if (hello.accepts === undefined) return not('it does not accept from us yet')
  if (hello.accepts !== published) return not('it accepts other addresses from us than we publish')
  return { given: true, reason: 'its hello says that it accepts all that we publish' }
}
