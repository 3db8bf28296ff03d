import { fingerprint } from '#keys/public-key.ts'
import type { Heartbeat } from '#src/cluster/heartbeat.ts'
import { type JsonObject, listOf, member, objectOf, textOf } from '#src/cluster/hostile.ts'
import { CONDITION_TYPE } from '#src/cluster/node-condition.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { type ConditionText, readConditionText } from './condition-text.ts'
import { byName, duration } from './format.ts'

/** How a node is doing, by what it publishes; the worst first. */
export const MESH_STATES = [
  ...(['in clear', 'no agent', 'unknown', 'not answering', 'turning', 'calico', 'encrypted', 'off'] as const),
] as const
export type MeshState = (typeof MESH_STATES)[number]

/** One node, as the cluster sees it. */
export interface MeshNode {
  readonly name: string
  readonly address: string | null
  /** Fingerprint of its first public key. */
  readonly key: string | null
  readonly state: MeshState
  /** RFC 3339; null where what is published does not tell. */
  readonly since: string | null
  readonly encryptedPeers: number | null
  readonly peers: number | null
  /** Of any of its peers, RFC 3339; null for never, or where it is not told. */
  readonly latestHandshake: string | null
  readonly guard: string | null
  readonly version: string | null
  /** What is wrong, in words; empty when nothing is known to be. */
  readonly why: string
}

/** The mesh, as the cluster sees it: `podveil status --json`. */
export interface MeshStatus {
  /** `off`: nothing should be encrypted. `unknown`: agents have not been heard of, and what they said last was good. */
  readonly verdict: 'encrypted' | 'turning' | 'not-answering' | 'unknown' | 'not-encrypted' | 'off'
  /** The worst first. */
  readonly nodes: readonly MeshNode[]
}

/** Which agents are alive, by node; and when that was read, Unix time in milliseconds. */
export interface Liveness {
  readonly heartbeats: ReadonlyMap<string, Heartbeat>
  readonly now: number
}

/**
 * @param objects Nodes, as the API has them; what is none is passed over
 * @param liveness undefined where it could not be read: then agents are believed whatever their age
 */
export function meshStatus(objects: Iterable<unknown>, liveness?: Liveness): MeshStatus {
  const seen = [...objects].flatMap(raw => meshNode(raw, liveness) ?? [])
  const anyOn = seen.some(({ state }) => state !== 'off' && state !== 'no agent')
  const nodes = seen.map(node => (anyOn && node.state === 'off' ? turnedOff(node) : node)).sort(worstFirst)
  return { verdict: anyOn ? verdictOf(nodes) : 'off', nodes }
}

/** Whether nothing goes in clear that should not. */
export const isAsItShould = ({ verdict }: Pick<MeshStatus, 'verdict'>): boolean =>
  verdict === 'encrypted' || verdict === 'off'

function verdictOf(nodes: readonly MeshNode[]): MeshStatus['verdict'] {
  const has = (...states: MeshState[]) => nodes.some(({ state }) => states.includes(state))
  if (has('in clear', 'no agent')) return 'not-encrypted'
  if (has('unknown')) return 'unknown'
  if (has('not answering')) return 'not-answering'
  return has('turning') ? 'turning' : 'encrypted'
}

const turnedOff = (node: MeshNode): MeshNode => ({
  ...node,
  state: 'in clear',
  why: 'encryption is off on this node, and on in the cluster',
})

const worstFirst = (a: MeshNode, b: MeshNode): number =>
  MESH_STATES.indexOf(a.state) - MESH_STATES.indexOf(b.state) || byName(a.name, b.name)

function meshNode(raw: unknown, liveness: Liveness | undefined): MeshNode | undefined {
  const record = projectNode(raw)
  if (!record) return undefined
  const announced = record.announced[4] ?? record.announced[6]
  const conditions = listOf(member(objectOf(member(objectOf(raw), 'status')), 'conditions')).map(objectOf)
  const find = (type: string) => conditions.find(condition => member(condition, 'type') === type)
  const condition = find(CONDITION_TYPE)
  const said = readConditionText(textOf(member(condition ?? {}, 'message'), 2_000) ?? '')
  const ready = member(find('Ready') ?? {}, 'status')
  const judged = judge(said, condition, announced !== undefined, announced?.hello !== undefined)
  const heartbeat = liveness?.heartbeats.get(record.name)
  const silence = said && liveness ? silenceOf(heartbeat, liveness.now) : ''
  const { state, why } =
    silence === ''
      ? judged
      : { state: doubted(judged.state), why: [judged.why, silence].filter(text => text !== '').join('; ') }
  const notReady = ready !== undefined && ready !== 'True' ? 'the node is not ready: this may be old' : ''
  return {
    name: record.name,
    address: record.addresses[0] ?? null,
    key: announced ? fingerprint(announced.publicKey) : null,
    state,
    since: sinceOf(state, heartbeat, said && condition),
    encryptedPeers: said && state !== 'off' ? said.encrypted : null,
    peers: said && state !== 'off' ? said.peers : null,
    latestHandshake: heartbeat?.latestHandshake ?? null,
    guard: said?.guard ?? null,
    version: said?.version ?? null,
    why: [why, notReady, ...record.faults].filter(text => text !== '').join('; '),
  }
}

/** The condition's own time is that of its status, which stays True when a peer stops answering. */
function sinceOf(state: MeshState, heartbeat: Heartbeat | undefined, condition: JsonObject | undefined): string | null {
  if (state === 'not answering') return null
  if (state === 'unknown') return heartbeat?.renewed ?? null
  return textOf(member(condition ?? {}, 'lastTransitionTime'), 64) ?? null
}

/** Why an agent's last words may be old; empty while they are not. */
function silenceOf(heartbeat: Heartbeat | undefined, now: number): string {
  if (!heartbeat) return 'its agent renews no Lease: is it older than this program, or not allowed to?'
  const age = now - Date.parse(heartbeat.renewed)
  if (age <= heartbeat.duration * 1000) return ''
  return `its agent has not been heard of for ${duration(age)}; its kernel keeps what was set, and podveil verify shows what it does`
}

/** What was bad stays bad: silence does not make it better. */
const doubted = (state: MeshState): MeshState =>
  state === 'encrypted' || state === 'turning' || state === 'not answering' ? 'unknown' : state

function judge(
  said: ConditionText | undefined,
  condition: object | undefined,
  hasKey: boolean,
  speaksHello: boolean,
): { readonly state: MeshState; readonly why: string } {
  if (!said || !condition) {
    if (!hasKey) return { state: 'no agent', why: 'no agent has reported from this node' }
    if (!speaksHello) return { state: 'calico', why: 'its key is of Calico, which tells nothing more' }
    return { state: 'turning', why: 'its agent has not reported yet' }
  }
  const status = member(objectOf(condition), 'status')
  const reason = member(objectOf(condition), 'reason')
  if (reason === 'EncryptionOff') return { state: 'off', why: '' }
  if (!hasKey && status === 'True')
    return { state: 'in clear', why: 'its Node carries no key any more: others send to it in clear' }
  if (status === 'False') return { state: 'in clear', why: said.trouble }
  if (reason === 'PeersNotAnswering') return { state: 'not answering', why: said.trouble }
  if (status !== 'True' || said.encrypted < said.peers) return { state: 'turning', why: said.trouble }
  return { state: 'encrypted', why: said.trouble }
}
