import type { ConditionContent } from '#src/cluster/node-condition.ts'
import { conditionText, offText, type SignedBy } from '#src/status/condition-text.ts'
import type { Tally } from '#src/status/tally.ts'

/** What the condition is made of. */
export interface Standing {
  /** Encryption is on in some family. */
  readonly enabled: boolean
  /** Why the agent cannot do its work; undefined when it can. */
  readonly trouble: string | undefined
  readonly tally: Tally
  readonly by: SignedBy
}

/**
 * The Node condition: True when everything that should be encrypted is, False when something goes in clear, Unknown while
 * this node itself is only being turned. Peers that join a mesh that is encrypted do not shake it.
 * @param before what it was; undefined at first
 */
export function conditionOf(standing: Standing, before: ConditionContent | undefined): ConditionContent {
  const { enabled, trouble, tally, by } = standing
  if (!enabled) return { status: 'False', reason: 'EncryptionOff', message: offText(by) }
  const { peers, others } = tally
  const message = conditionText(tally, by)
  const has = (state: string) => others.some(other => other.state === state)
  // While it is being turned an agent is not ready either; only what lasts is told.
  if (has('clear'))
    return { status: 'False', reason: trouble === undefined ? 'PeersInClear' : 'AgentNotReady', message }
  if (has('joining') && before?.status !== 'True') return { status: 'Unknown', reason: 'Proving', message }
  if (has('silent')) return { status: 'True', reason: 'PeersNotAnswering', message }
  return { status: 'True', reason: peers === 0 ? 'NoPeers' : 'AllPeersEncrypted', message }
}

/** Whether Pods that wait for encryption may come: all that should be encrypted is. */
export const mayHavePods = ({ status, reason }: ConditionContent): boolean =>
  status === 'True' || reason === 'EncryptionOff'

/** Milliseconds that a message alone waits: patches of 5,000 Nodes, each to 5,000 watches, are 25 million events. */
const MESSAGE_WAIT = 15_000
const MESSAGE_WAIT_PER_PEER = 200

/** Whether to write it now. What only differs in words can wait, the longer the larger the mesh is. */
export function isDue(
  wanted: ConditionContent,
  written: { readonly content: ConditionContent; readonly at: number } | undefined,
  peers: number,
  now: number,
): boolean {
  if (!written || wanted.status !== written.content.status || wanted.reason !== written.content.reason) return true
  if (wanted.message === written.content.message) return false
  return now - written.at >= Math.max(MESSAGE_WAIT, peers * MESSAGE_WAIT_PER_PEER)
}
