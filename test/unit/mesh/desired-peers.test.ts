import { describe, expect, test } from 'vitest'
import { CidrClaims } from '#src/mesh/claims.ts'
import { desiredPeers } from '#src/mesh/desired-peers.ts'
import type { PeerState } from '#src/mesh/peer-machine.ts'
import { name, nodeRecord, publicKey, viewOf } from './records.ts'

const NODES = [nodeRecord(1), nodeRecord(2)]

/** What the device has for node 2 in one state, by key. */
function usesIn(state: PeerState) {
  const view = viewOf(NODES)
  const cidrs = new CidrClaims(4, view.cidrSource)
  cidrs.refresh(
    view.nodes,
    NODES.map(node => node.name),
  )
  const { peers } = desiredPeers(view, 'main', name(2), new Map([[name(2), state]]), cidrs)
  return peers.map(({ key, use, peer }) => ({ key, use, dialled: peer.endpoint !== undefined }))
}

const present = { since: 0, key: publicKey(2), helloAddress: undefined, reason: 'a test' }

describe('what the device has a peer for', () => {
  test.each(['accepting', 'encrypting'] as const)('%s: the tunnel, and the key that it is to go by', phase => {
    const state = { ...present, candidate: publicKey(6), baseline: undefined, parked: false }
    expect(usesIn({ ...state, phase })).toEqual([
      { key: publicKey(2), use: 'tunnel', dialled: true },
      { key: publicKey(6), use: 'candidate', dialled: true },
    ])
  })

  test('lingering: what the tunnel was', () => {
    const state = { ...present, phase: 'lingering' as const, lastData: 0, rxBytes: 0n, agreedAt: undefined }
    expect(usesIn(state)).toEqual([{ key: publicKey(2), use: 'lingering', dialled: true }])
  })

  test('absent: nothing, but for a key that has to show whose it is and is not dialled', () => {
    expect(usesIn({ phase: 'absent', reason: 'a test' })).toEqual([])
    const contested = { key: publicKey(6), baseline: undefined }
    expect(usesIn({ phase: 'absent', reason: 'a test', contested })).toEqual([
      { key: publicKey(6), use: 'contested', dialled: false },
    ])
  })
})
