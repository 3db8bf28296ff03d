import { describe, expect, test } from 'vitest'
import { fingerprint } from '#keys/public-key.ts'
import { type Circumstances, circumstanceEvents, peerEvents } from '#src/agent/report-events.ts'
import { Repairs } from '#src/agent/report-repairs.ts'
import { PairWatch } from '#src/agent/report-watch.ts'
import type { PeerState } from '#src/mesh/peer-machine.ts'
import { keyOf } from '../status/support/snapshots.ts'
import { accepting, encrypting, kernelPeer, lookAtOnce, node } from './peers.ts'

const states = (...peers: PeerState[]) => new Map(peers.map((state, i) => [node(i + 2), state]))

/** The reasons of the Events of each step, one look after the other. */
function tell(...steps: readonly (readonly [now: number, states: Map<never, PeerState>])[]): string[][] {
  const watch = new PairWatch()
  return steps.map(([now, peers]) =>
    peerEvents(4, lookAtOnce(watch, peers, new Map(), now)).map(({ reason }) => reason),
  )
}

const at = (now: number, ...peers: PeerState[]) => [now, states(...peers) as Map<never, PeerState>] as const

describe('a peer', () => {
  test('that stays unproven is told once, with the reason, and again when it has recovered', () => {
    const waiting = accepting(2, 0)
    expect(
      tell(
        at(0, waiting),
        at(30_000, waiting),
        at(30_500, waiting),
        at(60_000, waiting),
        at(70_000, encrypting(2, 70_000)),
      ),
    ).toEqual([[], [], ['PeerUnproven'], [], ['PeerRecovered']])
    const watch = new PairWatch()
    lookAtOnce(watch, states(waiting), new Map(), 0)
    expect(peerEvents(4, lookAtOnce(watch, states(waiting), new Map(), 31_000))).toEqual([
      {
        type: 'Warning',
        reason: 'PeerUnproven',
        message: 'node-2 (IPv4) has not proven within 30 s that it accepts encrypted traffic: no handshake yet',
      },
    ])
  })

  test('that turns in time is no news', () => {
    expect(tell(at(0, accepting(2, 0)), at(900, encrypting(2, 900)))).toEqual([[], []])
  })

  test('that stops answering is told, and again when it answers', () => {
    const peers = states(encrypting(2, 0))
    const watch = new PairWatch()
    const reasons = [
      [0, 0],
      [0, 1000],
      [0, 2000],
      [0, 3000],
      [50, 3000],
    ].map(([rx = 0, tx = 0], i) => {
      const changes = lookAtOnce(watch, peers, new Map([kernelPeer(2, rx, tx)]), i * 10_000)
      return peerEvents(4, changes).map(({ type, reason }) => `${type} ${reason}`)
    })
    expect(reasons).toEqual([[], [], [], ['Warning PeerSilent'], ['Normal PeerRecovered']])
  })
})

test('many at once are one Event', () => {
  const waiting = [2, 3, 4, 5].map(index => accepting(index, 0))
  const watch = new PairWatch()
  lookAtOnce(watch, states(...waiting), new Map(), 0)
  const events = peerEvents(6, lookAtOnce(watch, states(...waiting), new Map(), 31_000))
  expect(events).toHaveLength(1)
  expect(events[0]?.message).toMatch(/^4 nodes, node-2 among them, \(IPv6\) has not proven/)
})

describe('circumstances', () => {
  const quiet: Circumstances = {
    enabled: { 4: false, 6: false },
    refusedClaims: new Set(),
    refusedSettings: new Set(),
    quarrel: undefined,
    routeSource: undefined,
    publishedKeys: { 4: undefined, 6: undefined },
    guardRefusals: new Set(),
    rotations: { 4: undefined, 6: undefined },
  }
  const reasons = (before: Partial<Circumstances>, after: Partial<Circumstances>) =>
    circumstanceEvents({ ...quiet, ...before }, { ...quiet, ...after }).map(({ type, reason }) => `${type} ${reason}`)

  test('encryption is turned on and off, for each family', () => {
    expect(reasons({}, { enabled: { 4: true, 6: true } })).toEqual([
      'Normal EncryptionEnabled',
      'Normal EncryptionEnabled',
    ])
    expect(reasons({ enabled: { 4: true, 6: false } }, {})).toEqual(['Normal EncryptionDisabled'])
  })

  test('an agent that starts in a mesh that is on has turned nothing on', () => {
    expect(reasons({ enabled: undefined }, { enabled: { 4: true, 6: true } })).toEqual([])
  })

  test('a key, a prefix and a value that are refused, each once', () => {
    const refused = {
      refusedClaims: new Set([
        'Node node-9: it announces the key of node-2',
        'Node node-9: 10.244.2.0/24 belongs to node-2',
      ]),
      refusedSettings: new Set(['FelixConfiguration default: wireguardMTU 12 is not …; the last good value stays']),
    }
    expect(reasons({}, refused)).toEqual(['Warning KeyRefused', 'Warning ClaimRefused', 'Warning ConfigurationRefused'])
    expect(reasons(refused, refused)).toEqual([])
  })

  test('a key that the Node carries, and one that takes its place; not what was there when the agent started', () => {
    const [first, second] = [keyOf(1), keyOf(2)]
    expect(reasons({}, { publishedKeys: { 4: first, 6: undefined } })).toEqual(['Normal KeyPublished'])
    expect(
      reasons({ publishedKeys: { 4: first, 6: undefined } }, { publishedKeys: { 4: second, 6: undefined } }),
    ).toEqual(['Normal KeyPublished'])
    expect(reasons({ publishedKeys: { 4: first, 6: undefined } }, {})).toEqual([])
    expect(reasons({ publishedKeys: undefined }, { publishedKeys: { 4: first, 6: undefined } })).toEqual([])
  })

  describe('a rotation', () => {
    const of = (key: number, replacing: boolean) => ({ rotations: { 4: { key: keyOf(key), replacing }, 6: undefined } })

    test('is told when it starts and when the new key is in its place, each once', () => {
      expect(reasons(of(1, false), of(1, true))).toEqual(['Normal KeyRotationStarted'])
      expect(reasons(of(1, true), of(1, true))).toEqual([])
      expect(reasons(of(1, true), of(2, false))).toEqual(['Normal KeyRotated'])
      expect(reasons(of(2, false), of(2, false))).toEqual([])
    })

    test('names both keys', () => {
      const [event] = circumstanceEvents({ ...quiet, ...of(1, true) }, { ...quiet, ...of(2, false) })
      expect(event?.message).toContain(fingerprint(keyOf(1)))
      expect(event?.message).toContain(fingerprint(keyOf(2)))
    })

    test('that follows on another at once has its end and the next start', () => {
      expect(reasons(of(1, true), of(2, true))).toEqual(['Normal KeyRotated', 'Normal KeyRotationStarted'])
    })

    test('that was under way when the agent started is told at its end alone', () => {
      expect(reasons({}, of(1, true))).toEqual([])
      expect(reasons(of(1, true), of(2, false))).toEqual(['Normal KeyRotated'])
    })

    test('is not what a first key is, nor one that took the place of a lost one', () => {
      expect(reasons({}, of(1, false))).toEqual([])
      expect(reasons(of(1, false), of(2, false))).toEqual([])
    })
  })

  test('a guard that does less than it was told to, once', () => {
    const guardRefusals = new Set(['guard enforce needs pod supernets: …'])
    expect(reasons({}, { guardRefusals })).toEqual(['Warning GuardNotEnforced'])
    expect(reasons({ guardRefusals }, { guardRefusals })).toEqual([])
  })

  test('low-order keys are named as keys', () => {
    const claim = 'Node node-9: annotation projectcalico.org/WireguardPublicKey: public key is a point of low order'
    expect(reasons({}, { refusedClaims: new Set([claim]) })).toEqual(['Warning KeyRefused'])
  })

  test('another source of pod addresses is told, but not the first one', () => {
    expect(reasons({}, { routeSource: 'PodCIDR' })).toEqual([])
    const changed = [{ routeSource: 'PodCIDR' }, { routeSource: 'CalicoIPAM' }] as const
    expect(reasons(...changed)).toEqual(['Warning RouteSourceChanged'])
    expect(reasons(changed[1], changed[1])).toEqual([])
  })

  test('five repairs within a minute are a quarrel, told once', () => {
    const repairs = new Repairs()
    for (const second of [0, 20, 40, 50]) repairs.note(4, 'removed rule 99', second * 1000)
    expect(repairs.quarrel(55_000)).toBeUndefined()
    repairs.note(4, 'removed rule 99', 55_000)
    const quarrel = repairs.quarrel(55_000)
    expect(reasons({}, { quarrel })).toEqual(['Warning ForeignChanges'])
    expect(reasons({ quarrel }, { quarrel })).toEqual([])
    expect(repairs.quarrel(70_000)).toBeUndefined()
  })

  test('a quarrel about what is of both families names neither', () => {
    const quarrel = { at: 0, family: undefined, what: 'changed the nftables table podveil' }
    const [event] = circumstanceEvents(quiet, { ...quiet, quarrel })
    expect(event?.message).toMatch(/after it changed the nftables table podveil; end what does it$/)
  })
})
