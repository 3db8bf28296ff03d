import { describe, expect, test } from 'vitest'
import { adoptInSlices, adoptPeers } from '#src/mesh/adopt.ts'
import type { FamilyView } from '#src/mesh/family-view.ts'
import { LANES, type NodeRecord } from '#src/mesh/node-record.ts'
import { planFamily } from '#src/mesh/plan.ts'
import { PlanMemory } from '#src/mesh/plan-memory.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { type Cidr, hostCidr, parseCidr } from '#wg/ip.ts'
import { atOnce } from '#wg/slices.ts'
import {
  announcement,
  endpointOf,
  mainPeers,
  name,
  nodeRecord,
  peerStatus,
  podCidr,
  publicKey,
  viewOf,
} from './records.ts'

const found = (records: readonly NodeRecord[], peers: readonly PeerStatus[], ...steered: Cidr[]) =>
  viewOf(records, {
    main: {
      kernel: { up: true, peers: new Map(peers.map(peer => [peer.publicKey, peer])), steered: new Set(steered) },
    },
  })

const adoptedNodes = (view: FamilyView) => LANES.flatMap(lane => [...adoptPeers(view)[lane].keys()])

const holding = (key: number, ...allowedIps: Cidr[]): PeerStatus =>
  peerStatus(publicKey(key), { allowedIps: new Set(allowedIps) })

describe('an agent that starts on a kernel that is in use', () => {
  test('takes a steered peer for an encrypting one, and any other for an accepting one', () => {
    const view = found(
      [nodeRecord(1), nodeRecord(2), nodeRecord(3)],
      [holding(2, podCidr(2)), holding(3, podCidr(3))],
      podCidr(2),
    )
    const adopted = adoptPeers(view)
    expect(adopted.main.get(name(2))).toMatchObject({ phase: 'encrypting', key: publicKey(2) })
    expect(adopted.main.get(name(3))).toMatchObject({ phase: 'accepting', key: publicKey(3) })
  })

  test('knows where a peer speaks hello, though its node announces nothing any more: it is to hear that we stop', () => {
    const address = announcement(2).interfaceAddress
    if (address === undefined) throw new Error('no address')
    const silent = nodeRecord(2, { announced: { 4: undefined, 6: undefined } })
    const held = holding(2, podCidr(2), hostCidr(address), ...silent.addresses.map(hostCidr))
    for (const node of [nodeRecord(2), silent]) {
      const view = found([nodeRecord(1), node], [held], podCidr(2))
      expect(planFamily(adoptPeers(view), { ...view, enabled: false }).peers.get(name(2))).toMatchObject({
        phase: 'lingering',
        helloAddress: address,
      })
    }
  })

  test('takes no guess where that might be another address', () => {
    const silent = nodeRecord(2, { announced: { 4: undefined, 6: undefined } })
    const left = ['10.200.0.98/32', '10.200.0.99/32'].map(parseCidr)
    const view = found([nodeRecord(1), silent], [holding(2, podCidr(2), ...left)], podCidr(2))
    expect(adoptPeers(view).main.get(name(2))).toMatchObject({ helloAddress: undefined })
  })

  test('changes nothing where nothing has changed', () => {
    const view = found([nodeRecord(1), nodeRecord(2)], [holding(2, podCidr(2))], podCidr(2))
    const plan = planFamily(adoptPeers(view), view)
    expect(plan.peers.get(name(2))).toMatchObject({ phase: 'encrypting' })
    expect(mainPeers(plan).get(publicKey(2))?.allowedIps.has(podCidr(2))).toBe(true)
  })

  test('knows a peer whose node has a new key by what it holds, and keeps it until the new one has proven itself', () => {
    const renewed = nodeRecord(2, { announced: { 4: announcement(2, { publicKey: publicKey(9) }), 6: undefined } })
    const view = found([nodeRecord(1), renewed], [holding(2, podCidr(2))], podCidr(2))
    const { peers } = planFamily(adoptPeers(view), view)
    expect(peers.get(name(2))).toMatchObject({ phase: 'encrypting', key: publicKey(2), candidate: publicKey(9) })
  })

  test('lets a peer whose node has withdrawn its key linger', () => {
    const gone = nodeRecord(2, { announced: { 4: undefined, 6: undefined } })
    const view = found([nodeRecord(1), gone], [holding(2, podCidr(2))], podCidr(2))
    const { peers } = planFamily(adoptPeers(view), view)
    expect(peers.get(name(2))).toMatchObject({ phase: 'lingering', key: publicKey(2) })
  })

  test.each(['first', 'last'])(
    'is not deceived by a Node that announces a peer’s key as well and is listed %s',
    place => {
      const thief = nodeRecord(7, { createdAt: 1, announced: { 4: announcement(2), 6: undefined } })
      const others = [nodeRecord(1), nodeRecord(2)]
      const records = place === 'first' ? [thief, ...others] : [...others, thief]
      const view = found(records, [holding(2, podCidr(2))], podCidr(2))
      const adopted = adoptPeers(view)
      expect(adopted.main.get(name(2))).toMatchObject({ phase: 'encrypting', key: publicKey(2) })
      expect(adopted.main.has(name(7))).toBe(false)
      const { peers } = planFamily(adopted, view)
      expect(peers.get(name(2))?.phase).toBe('encrypting')
      expect(peers.get(name(7))?.phase).toBe('absent')
    },
  )

  test('takes the same a node at a time, and plans go on from there', () => {
    const view = found(
      [nodeRecord(1), nodeRecord(2), nodeRecord(3)],
      [holding(2, podCidr(2)), holding(3, podCidr(3))],
      podCidr(2),
    )
    const memory = new PlanMemory()
    const steps = adoptInSlices(() => view, memory, 1)
    expect(steps.next().done).toBe(false)
    const adopted = atOnce(steps)
    expect(adopted).toEqual(adoptPeers(view))
    const { lanes, peers } = planFamily(adopted, view, memory)
    expect(lanes).toBe(adopted)
    expect(new Map(peers)).toEqual(new Map(planFamily(adoptPeers(view), view).peers))
  })

  test('passes over a key without allowed IPs, which was a candidate and will be one again', () => {
    const view = found([nodeRecord(1), nodeRecord(2)], [holding(2)])
    expect(adoptedNodes(view)).toEqual([])
  })

  test('has a peer linger whose Node is gone, and tells it so: it may still send', () => {
    const address = announcement(2).interfaceAddress
    if (address === undefined) throw new Error('no address')
    const held = holding(2, podCidr(2), hostCidr(address), ...nodeRecord(2).addresses.map(hostCidr))
    const view = found([nodeRecord(1)], [held], podCidr(2))
    const plan = planFamily(adoptPeers(view), view)
    expect([...plan.peers.values()]).toMatchObject([{ phase: 'lingering', key: publicKey(2), helloAddress: address }])
    expect(mainPeers(plan).get(publicKey(2))?.allowedIps).toContain(podCidr(2))
  })

  test('leaves such a peer to no node that copies its key, but to the one that it calls from', () => {
    const called = { ...holding(2, podCidr(2)), latestHandshake: 5n, endpoint: endpointOf(2) }
    const thief = nodeRecord(3, { announced: { 4: announcement(3, { publicKey: publicKey(2) }), 6: undefined } })
    const view = found([nodeRecord(1), thief], [called])
    const gone = planFamily(adoptPeers(view), view)
    expect(gone.peers.get(name(3))?.phase).toBe('absent')
    expect(mainPeers(gone).get(publicKey(2))?.allowedIps).toContain(podCidr(2))
    const plan = planFamily(gone.lanes, { ...view, nodes: viewOf([nodeRecord(1), nodeRecord(2)]).nodes })
    expect(plan.peers.get(name(2))).toMatchObject({ phase: 'accepting', key: publicKey(2) })
    expect(plan.peers.size).toBe(1)
  })
})
