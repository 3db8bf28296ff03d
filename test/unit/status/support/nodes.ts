import { conditionText } from '#src/status/condition-text.ts'
import type { PairState } from '#src/status/tally.ts'
import { ago, keyOf } from './snapshots.ts'

const BY = { guard: 'audit', version: '0.1.0' } as const

/** A Node as the API has it, with what its agent publishes. */
export function nodeObject(
  index: number,
  condition: { status: string; reason: string; message: string } | undefined,
  extra: Record<string, string> = {},
) {
  return {
    metadata: {
      name: `node-${index}`,
      uid: `uid-${index}`,
      creationTimestamp: '2026-01-01T00:00:00Z',
      annotations: { ...extra },
    },
    spec: { podCIDRs: [`10.244.${index}.0/24`] },
    status: {
      addresses: [{ type: 'InternalIP', address: `10.200.0.${index}` }],
      conditions: [
        { type: 'Ready', status: 'True' },
        ...(condition ? [{ type: 'EncryptionReady', ...condition, lastTransitionTime: ago(3600) }] : []),
      ],
    },
  }
}

export const keys = (index: number): Record<string, string> => ({
  'projectcalico.org/WireguardPublicKey': keyOf(index),
  'podveil.io/hello': '1',
})

/** A node whose agent says so much of its peers. */
export const encryptingNode = (index: number, peers: number, others: PairState[] = []) => {
  const encrypted = peers - others.filter(({ state }) => state !== 'silent').length
  const message = conditionText({ peers, encrypted, others }, BY)
  const bad = others.some(({ state }) => state === 'clear')
  const silent = others.some(({ state }) => state === 'silent')
  const reason = bad ? 'PeersInClear' : silent ? 'PeersNotAnswering' : 'AllPeersEncrypted'
  return nodeObject(index, { status: bad ? 'False' : 'True', reason, message }, keys(index))
}

export const offNode = (index: number) =>
  nodeObject(index, {
    status: 'False',
    reason: 'EncryptionOff',
    message: 'encryption is off; guard audit; podveil 0.1.0',
  })
