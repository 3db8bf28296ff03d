import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PublicKey } from '#keys/public-key.ts'
import type { PeerChange, PeerStatus } from '#wg/device/device.ts'
import { type Cidr, type Endpoint, parseAddress, parseCidr } from '#wg/ip.ts'
import type { DesiredPeer } from '#wg/reconcile/desired.ts'
import { DeviceMirror } from '#wg/reconcile/device-mirror.ts'
import { diffPeers } from '#wg/reconcile/peers.ts'
import { peerStatus, publicKey } from '../mesh/records.ts'

const KEYS = [1, 2, 3].map(publicKey)
const [A = publicKey(1), B = publicKey(2)] = KEYS
const CIDRS = ['10.1.0.0/16', '10.2.0.0/16', '10.2.3.0/24', 'fd00::/64', '10.200.0.2/32'].map(parseCidr)
const [ONE = parseCidr('::/0'), TWO = parseCidr('::/0')] = CIDRS
const HERE: Endpoint = { address: parseAddress('10.200.0.2'), port: 51820 }
const THERE: Endpoint = { address: parseAddress('10.200.0.3'), port: 51820 }
const STRANGE: Endpoint = { address: parseAddress('192.0.2.1'), port: 51820 }

const want = (fields: Partial<DesiredPeer> = {}): DesiredPeer => ({
  endpoint: HERE,
  mayRoamTo: [HERE.address],
  allowedIps: new Set([ONE]),
  persistentKeepalive: 0,
  ...fields,
})

const have = (key: PublicKey, fields: Partial<PeerStatus> = {}): PeerStatus =>
  peerStatus(key, { endpoint: HERE, allowedIps: new Set([ONE]), ...fields })

type Peers = Map<PublicKey, PeerStatus>

/** What a device does with changes, of which each adds a prefix, or takes one away, in one step. */
function apply(peers: Peers, change: PeerChange, after: () => void = () => {}): void {
  const { publicKey: key } = change
  if (change.kind === 'remove') {
    peers.delete(key)
    after()
    return
  }
  if (change.updateOnly && !peers.has(key)) return
  const { endpoint, persistentKeepalive, addAllowedIps = [], removeAllowedIps = [] } = change
  const before = peers.get(key) ?? peerStatus(key)
  peers.set(key, {
    ...before,
    endpoint: endpoint ?? before.endpoint,
    persistentKeepalive: persistentKeepalive ?? before.persistentKeepalive,
  })
  const edit = (owner: PublicKey, how: (allowed: Set<Cidr>) => unknown) => {
    const peer = peers.get(owner)
    if (!peer) return
    const allowedIps = new Set(peer.allowedIps)
    how(allowedIps)
    peers.set(owner, { ...peer, allowedIps })
  }
  for (const cidr of addAllowedIps) {
    for (const other of peers.keys()) if (other !== key) edit(other, allowed => allowed.delete(cidr))
    edit(key, allowed => allowed.add(cidr))
    after()
  }
  for (const cidr of removeAllowedIps) {
    edit(key, allowed => allowed.delete(cidr))
    after()
  }
}

const diff = (desired: Map<PublicKey, DesiredPeer>, actual: Peers, written = new Map<PublicKey, Endpoint>()) =>
  diffPeers(desired, actual, written)

describe('one peer', () => {
  const cases: [string, DesiredPeer | undefined, PeerStatus | undefined, Endpoint | undefined, unknown[], unknown[]][] =
    [
      ['that is as it must be is not touched', want(), have(A), HERE, [], []],
      [
        'that is new is made with all it needs',
        want({ persistentKeepalive: 25 }),
        undefined,
        undefined,
        [{ kind: 'set', publicKey: A, endpoint: HERE, persistentKeepalive: 25, addAllowedIps: [ONE] }],
        [],
      ],
      [
        'that is new without an endpoint leaves it to be learned',
        want({ endpoint: undefined }),
        undefined,
        undefined,
        [{ kind: 'set', publicKey: A, addAllowedIps: [ONE] }],
        [],
      ],
      ['that nobody wants is removed', undefined, have(A), HERE, [], [{ kind: 'remove', publicKey: A }]],
      [
        'that gains a prefix is given that one alone, and is not made where it is gone',
        want({ allowedIps: new Set([ONE, TWO]) }),
        have(A),
        HERE,
        [{ kind: 'set', publicKey: A, updateOnly: true, addAllowedIps: [TWO] }],
        [],
      ],
      [
        'that loses a prefix loses that one alone, afterwards',
        want(),
        have(A, { allowedIps: new Set([ONE, TWO]) }),
        HERE,
        [],
        [{ kind: 'set', publicKey: A, updateOnly: true, removeAllowedIps: [TWO] }],
      ],
      [
        'whose keepalive changes is told the keepalive alone',
        want({ persistentKeepalive: 25 }),
        have(A),
        HERE,
        [{ kind: 'set', publicKey: A, updateOnly: true, persistentKeepalive: 25 }],
        [],
      ],
      [
        'whose keepalive is turned off is told so',
        want(),
        have(A, { persistentKeepalive: 25 }),
        HERE,
        [{ kind: 'set', publicKey: A, updateOnly: true, persistentKeepalive: 0 }],
        [],
      ],
      [
        'that has roamed to another of its node’s addresses stays there',
        want({ mayRoamTo: [HERE.address, THERE.address] }),
        have(A, { endpoint: THERE }),
        HERE,
        [],
        [],
      ],
      [
        'that has roamed to another port of its node stays there',
        want(),
        have(A, { endpoint: { ...HERE, port: 40_000 } }),
        HERE,
        [],
        [],
      ],
      [
        'that has strayed from its node’s addresses is set back',
        want(),
        have(A, { endpoint: STRANGE }),
        HERE,
        [{ kind: 'set', publicKey: A, updateOnly: true, endpoint: HERE }],
        [],
      ],
      [
        'whose node has moved is sent there',
        want({ endpoint: THERE, mayRoamTo: [HERE.address, THERE.address] }),
        have(A),
        HERE,
        [{ kind: 'set', publicKey: A, updateOnly: true, endpoint: THERE }],
        [],
      ],
      [
        'whose endpoint was never known is given one',
        want(),
        have(A, { endpoint: undefined }),
        undefined,
        [{ kind: 'set', publicKey: A, updateOnly: true, endpoint: HERE }],
        [],
      ],
    ]
  test.each(cases)('%s', (_, desired, actual, written, additions, removals) => {
    const operations = diffPeers(
      new Map(desired ? [[A, desired]] : []),
      new Map(actual ? [[A, actual]] : []),
      new Map(written ? [[A, written]] : []),
    )
    expect(operations).toEqual({ additions, removals })
  })

  test('takes a prefix from another by being given it: nothing is removed from the other first', () => {
    const desired = new Map([
      [A, want({ allowedIps: new Set() })],
      [B, want({ allowedIps: new Set([ONE]) })],
    ])
    const { additions, removals } = diff(
      desired,
      new Map([
        [A, have(A)],
        [B, have(B, { allowedIps: new Set() })],
      ]),
    )
    expect(additions).toEqual([{ kind: 'set', publicKey: B, updateOnly: true, addAllowedIps: [ONE] }])
    expect(removals).toEqual([])
  })
})

/** Who wants what, where no two want the same. */
const arbitraryDesired: fc.Arbitrary<Map<PublicKey, DesiredPeer>> = fc
  .record({
    present: fc.subarray(KEYS),
    owners: fc.array(fc.nat(KEYS.length), { minLength: CIDRS.length, maxLength: CIDRS.length }),
    endpoint: fc.constantFrom(HERE, THERE, undefined),
    roams: fc.subarray([HERE.address, THERE.address]),
    persistentKeepalive: fc.constantFrom(0, 25),
  })
  .map(({ present, owners, endpoint, roams, persistentKeepalive }) => {
    const of = (key: PublicKey) => new Set(CIDRS.filter((_, index) => KEYS[owners[index] ?? 0] === key))
    return new Map(
      present.map(key => [key, { endpoint, mayRoamTo: [...roams], allowedIps: of(key), persistentKeepalive }]),
    )
  })

const arbitraryActual: fc.Arbitrary<Peers> = arbitraryDesired.chain(desired =>
  fc
    .constantFrom(HERE, THERE, STRANGE, undefined)
    .map(
      endpoint =>
        new Map(
          [...desired].map(([key, { allowedIps, persistentKeepalive }]) => [
            key,
            peerStatus(key, { allowedIps, persistentKeepalive, endpoint }),
          ]),
        ),
    ),
)

describe('whatever there is and whatever is wanted', () => {
  const always = (holds: (desired: Map<PublicKey, DesiredPeer>, actual: Peers) => void): void =>
    fc.assert(fc.property(arbitraryDesired, arbitraryActual, holds), { numRuns: 2_000 })

  const carryOut = (desired: Map<PublicKey, DesiredPeer>, actual: Peers, after?: () => void): Peers => {
    const { additions, removals } = diff(desired, actual)
    for (const change of [...additions, ...removals]) apply(actual, change, after)
    return actual
  }

  test('the changes make the one of the other', () => {
    always((desired, actual) => {
      carryOut(desired, actual)
      expect(new Set(actual.keys())).toEqual(new Set(desired.keys()))
      for (const [key, { allowedIps, persistentKeepalive, endpoint, mayRoamTo }] of desired) {
        const peer = actual.get(key)
        expect(peer?.allowedIps).toEqual(allowedIps)
        expect(peer?.persistentKeepalive).toBe(persistentKeepalive)
        if (endpoint && peer?.endpoint !== endpoint)
          expect(mayRoamTo === 'anywhere' || mayRoamTo.includes(peer?.endpoint?.address ?? endpoint.address)).toBe(true)
      }
    })
  })

  test('nothing is left to change afterwards', () => {
    always((desired, actual) => {
      carryOut(desired, actual)
      const written = new Map(
        [...desired].flatMap(([key, { endpoint }]) => (endpoint ? [[key, endpoint] as const] : [])),
      )
      expect(diff(desired, actual, written)).toEqual({ additions: [], removals: [] })
    })
  })

  test('a prefix that somebody holds and somebody wants is never without an owner', () => {
    always((desired, actual) => {
      const held = [...actual.values()].flatMap(({ allowedIps }) => [...allowedIps])
      const wanted = new Set([...desired.values()].flatMap(({ allowedIps }) => [...allowedIps]))
      const kept = held.filter(cidr => wanted.has(cidr))
      carryOut(desired, actual, () => {
        for (const cidr of kept)
          expect([...actual.values()].filter(({ allowedIps }) => allowedIps.has(cidr))).toHaveLength(1)
      })
    })
  })

  test('nobody loses a prefix and gets it back', () => {
    always((desired, actual) => {
      const stays = [...desired].flatMap(([key, { allowedIps }]) =>
        [...allowedIps].filter(cidr => actual.get(key)?.allowedIps.has(cidr)).map(cidr => [key, cidr] as const),
      )
      carryOut(desired, actual, () => {
        for (const [key, cidr] of stays) expect(actual.get(key)?.allowedIps.has(cidr)).toBe(true)
      })
    })
  })

  test('the mirror follows every change as a device does', () => {
    always((desired, actual) => {
      const mirror = new DeviceMirror('wg0')
      mirror.noteStatus({
        name: 'wg0',
        publicKey: undefined,
        privateKey: undefined,
        listenPort: 0,
        fwmark: 0,
        peers: actual,
      })
      const { additions, removals } = diff(desired, actual)
      for (const change of [...additions, ...removals]) {
        apply(actual, change)
        mirror.notePeer(change)
      }
      expect(new Map(mirror.peers)).toEqual(actual)
    })
  })
})
