import { fingerprint, type PublicKey } from '#keys/public-key.ts'
import type { Logger } from '#src/cluster/logger.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { PeerState } from '#src/mesh/peer-machine.ts'
import type { ChangedPair } from '#src/mesh/plan.ts'
import type { Family } from '#wg/ip.ts'

/** One line for each pair that got into another state or has another key, with the reason; a step for each pair. */
export function* logPairs(
  log: Logger,
  family: Family,
  changed: ReadonlyMap<NodeName, ChangedPair>,
): Generator<undefined, void> {
  for (const [peer, { before, after }] of changed) {
    yield
    if (before?.phase === after?.phase && keyOf(before) === keyOf(after)) continue
    if (!after || (before === undefined && after.phase === 'absent')) continue
    const key = keyOf(after)
    const [from, to] = [before?.phase ?? 'absent', after.phase]
    log.info(
      { event: 'peer-changed', peer, family, from, to, ...(key && { key: fingerprint(key) }) },
      `${peer} IPv${family}: ${to}: ${after.reason}`,
    )
  }
}

const keyOf = (state: PeerState | undefined): PublicKey | undefined =>
  state === undefined || state.phase === 'absent' ? undefined : state.key
