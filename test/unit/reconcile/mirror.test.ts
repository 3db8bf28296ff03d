import { describe, expect, test } from 'vitest'
import type { PublicKey } from '#keys/public-key.ts'
import type { PeerStatus } from '#wg/device/device.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { DeviceMirror } from '#wg/reconcile/device-mirror.ts'
import { Mirror, type Verdict } from '#wg/reconcile/mirror.ts'
import { routeOf, ruleOf } from '#wg/reconcile/routes.ts'
import type { Link } from '#wg/rtnetlink/link.ts'
import type { RouteEvent } from '#wg/rtnetlink/monitor.ts'
import type { Route } from '#wg/rtnetlink/route.ts'
import { Follower } from '#wg/table.ts'
import { peerStatus, publicKey } from '../mesh/records.ts'

const LINK: Link = { index: 7, name: 'wireguard.cali', mtu: 1440, up: true, lowerUp: true, operState: 'unknown' }
const ADDRESS = parseAddress('10.244.1.1')
const ROUTE = routeOf(
  { table: 1, destination: parseCidr('10.244.2.0/24'), type: 'unicast', device: LINK.name },
  () => LINK.index,
  80,
)
const RULE = ruleOf(4, {
  ...{ priority: 99, table: 1, invert: true, fwmark: 8, fwmask: 8 },
  ...{ source: undefined, outputInterface: undefined },
})

/** Of a device that is up, with one address, one route and one rule. */
function mirrored(): Mirror {
  const mirror = new Mirror({ family: 4, deviceNames: new Set([LINK.name]), tables: new Set([1, 2]) })
  const device = mirror.devices.get(LINK.name)
  if (!device) throw new Error('what is owned is not mirrored')
  device.link = LINK
  device.addresses.add(ADDRESS)
  mirror.putRoute(ROUTE)
  mirror.rules = [RULE]
  return mirror
}

const address = (
  change: 'added' | 'removed',
  fields: { ifindex?: number; address?: typeof ADDRESS } = {},
): RouteEvent => ({
  kind: 'address',
  change,
  object: { ifindex: 7, address: ADDRESS, prefixLength: 32, scope: 0, flags: 0, ...fields },
})

const link = (change: 'added' | 'removed', fields: Partial<Link> = {}): RouteEvent => ({
  kind: 'link',
  change,
  object: { ...LINK, ...fields },
})

const route = (change: 'added' | 'removed', fields: Partial<Route> = {}): RouteEvent => ({
  kind: 'route',
  change,
  object: { ...ROUTE, ...fields },
})

const FOREIGN = { foreign: expect.any(String) as string }

describe('an event about', () => {
  test.each<[string, RouteEvent, Verdict | typeof FOREIGN]>([
    ['our device, as it is known', link('added'), 'expected'],
    ['our device, which is down', link('added', { up: false }), { lookAgain: LINK }],
    ['our device, with another MTU', link('added', { mtu: 1300 }), { lookAgain: LINK }],
    ['our device, with another index', link('added', { index: 8 }), { lookAgain: LINK }],
    ['our device, with another name', link('added', { name: 'x' }), { lookAgain: LINK }],
    ['our device, which is gone', link('removed', { up: false }), FOREIGN],
    ['an earlier device of our name, which is gone', link('removed', { index: 6 }), 'expected'],
    ['another device', link('removed', { index: 3, name: 'eth0' }), 'expected'],
    ['our address, which is gone', address('removed'), FOREIGN],
    ['our address, which is there', address('added'), 'expected'],
    ['somebody else’s address', address('removed', { ifindex: 3 }), 'expected'],
    ['an address that we have taken away', address('removed', { address: parseAddress('10.9.9.9') }), 'expected'],
    ['our route, as it is known', route('added'), 'expected'],
    ['our route, which is gone', route('removed'), FOREIGN],
    ['our route, replaced by another', route('added', { type: 'throw' }), FOREIGN],
    ['a route beside ours', route('added', { metric: 50 }), FOREIGN],
    ['a route that we have replaced, which is gone', route('removed', { type: 'blackhole' }), 'expected'],
    ['a route of another table', route('added', { table: 254 }), 'expected'],
    ['a route of the other family', route('added', { destination: parseCidr('fd00::/64') }), 'expected'],
    ['our rule, as it is known', { kind: 'rule', change: 'added', object: RULE }, 'expected'],
    ['our rule, which is gone', { kind: 'rule', change: 'removed', object: RULE }, FOREIGN],
    [
      'a rule of somebody else to our table',
      { kind: 'rule', change: 'added', object: { ...RULE, priority: 50 } },
      FOREIGN,
    ],
    ['a rule to another table', { kind: 'rule', change: 'added', object: { ...RULE, table: 254 } }, 'expected'],
    ['a rule of the other family', { kind: 'rule', change: 'added', object: { ...RULE, family: 6 } }, 'expected'],
  ])('%s', (_, event, verdict) => {
    expect(mirrored().noteEvent(event)).toEqual(verdict)
  })

  test('what somebody else did is told once: its echo is no news', () => {
    const mirror = mirrored()
    for (const event of [address('removed'), route('removed'), route('added', { metric: 9 })]) {
      expect(mirror.noteEvent(event)).toEqual(FOREIGN)
      expect(mirror.noteEvent(event)).toBe('expected')
    }
  })

  test('what we are about to write is noted before, so that its event is no news', () => {
    const mirror = mirrored()
    mirror.dropRoute(ROUTE)
    expect(mirror.noteEvent(route('removed'))).toBe('expected')
    mirror.rules = []
    expect(mirror.noteEvent({ kind: 'rule', change: 'removed', object: RULE })).toBe('expected')
  })
})

const NO_DEVICE = { publicKey: undefined, privateKey: undefined, listenPort: 0, fwmark: 0 }

describe('what the device says', () => {
  test('takes the place of what was known of its peers, and forgets endpoints of those that are gone', () => {
    const device = new DeviceMirror(LINK.name)
    const endpoint = { address: parseAddress('10.200.0.2'), port: 51820 }
    for (const key of [2, 3]) device.notePeer({ kind: 'set', publicKey: publicKey(key), endpoint })
    const peers = new Map([[publicKey(2), peerStatus(publicKey(2), { endpoint })]])
    device.noteStatus({ ...NO_DEVICE, name: LINK.name, peers })
    expect([...device.peers.keys()]).toEqual([publicKey(2)])
    expect([...device.writtenEndpoints.keys()]).toEqual([publicKey(2)])
  })

  test('is kept once: of peers that are as they were nothing that was read stays', () => {
    const device = new DeviceMirror(LINK.name)
    const read = (fields: Partial<PeerStatus> = {}) => {
      const allowedIps = new Set([parseCidr('10.244.2.0/24')])
      const endpoint = { address: parseAddress('10.200.0.2'), port: 51820 }
      const peers = new Map([[publicKey(2), peerStatus(publicKey(2), { allowedIps, endpoint, ...fields })]])
      device.noteStatus({ ...NO_DEVICE, name: LINK.name, peers })
      return device.peers.get(publicKey(2))
    }
    const first = read()
    expect(read()).toBe(first)
    expect(device.status).toEqual({ ...NO_DEVICE, name: LINK.name })
    const talked = read({ rxBytes: 1n })
    expect(talked).toEqual({ ...first, rxBytes: 1n })
    expect(talked?.allowedIps).toBe(first?.allowedIps)
    expect(talked?.endpoint).toBe(first?.endpoint)
  })

  test('is kept no second time where it is what is desired, and that is no news', () => {
    const device = new DeviceMirror(LINK.name)
    const place = () => ({
      allowedIps: new Set([parseCidr('10.244.2.0/24')]),
      endpoint: { address: parseAddress('10.200.0.2'), port: 51820 },
    })
    const [key, other] = [publicKey(2), publicKey(3)]
    const peers = new Map([key, other].map(key => [key, peerStatus(key, { ...place(), rxBytes: 7n })]))
    device.noteStatus({ ...NO_DEVICE, name: LINK.name, peers })
    const follower = new Follower<PublicKey>()
    follower.take(device.peers)
    const desired = { ...place(), mayRoamTo: 'anywhere' as const, persistentKeepalive: 0 }
    const another = { ...desired, allowedIps: new Set([parseCidr('10.244.3.0/24')]) }
    const wanted = new Map([
      [key, desired],
      [other, another],
    ])
    device.shareWith(wanted, [key, other])
    expect(device.peers.get(key)).toEqual(peers.get(key))
    expect(device.peers.get(key)?.allowedIps).toBe(desired.allowedIps)
    expect(device.peers.get(key)?.endpoint).toBe(desired.endpoint)
    expect(device.peers.get(other)).toEqual(peers.get(other))
    expect(follower.take(device.peers)).toEqual(new Set())
  })

  test.each<[string, Partial<PeerStatus>, boolean]>([
    ['that more was received and sent', { rxBytes: 10n, txBytes: 20n }, false],
    ['a handshake', { latestHandshake: 1n }, true],
    ['another endpoint', { endpoint: { address: parseAddress('10.200.0.9'), port: 51820 } }, true],
    ['another prefix', { allowedIps: new Set([parseCidr('10.244.9.0/24')]) }, true],
    ['another keepalive', { persistentKeepalive: 25 }, true],
  ])('%s is known, and news to who follows the peers: %o, %s', (_, fields, isNews) => {
    const device = new DeviceMirror(LINK.name)
    const key = publicKey(2)
    const read = (now: Partial<PeerStatus>) =>
      device.noteStatus({ ...NO_DEVICE, name: LINK.name, peers: new Map([[key, peerStatus(key, now)]]) })
    read({})
    const follower = new Follower<PublicKey>()
    follower.take(device.peers)
    read(fields)
    expect(device.peers.get(key)).toMatchObject(fields)
    expect(follower.take(device.peers)).toEqual(new Set(isNews ? [key] : []))
  })

  test('a prefix that was given to one, and is read of another since, is taken from that one', () => {
    const device = new DeviceMirror(LINK.name)
    const prefix = parseCidr('10.244.2.0/24')
    device.notePeer({ kind: 'set', publicKey: publicKey(2), addAllowedIps: [prefix] })
    const moved = [peerStatus(publicKey(2)), peerStatus(publicKey(3), { allowedIps: new Set([prefix]) })]
    const peers = new Map(moved.map(peer => [peer.publicKey, peer]))
    device.noteStatus({ ...NO_DEVICE, name: LINK.name, peers })
    device.notePeer({ kind: 'set', publicKey: publicKey(4), addAllowedIps: [prefix] })
    expect(device.peers.get(publicKey(3))?.allowedIps).toEqual(new Set())
    expect(device.peers.get(publicKey(4))?.allowedIps).toEqual(new Set([prefix]))
  })

  test('a prefix that is given to one is taken from whom it was read of', () => {
    const device = new DeviceMirror(LINK.name)
    const [ours, theirs] = [parseCidr('10.244.2.0/24'), parseCidr('10.244.3.0/24')]
    const peers = new Map([[publicKey(2), peerStatus(publicKey(2), { allowedIps: new Set([ours, theirs]) })]])
    device.noteStatus({ ...NO_DEVICE, name: LINK.name, peers })
    device.notePeer({ kind: 'set', publicKey: publicKey(3), addAllowedIps: [theirs] })
    expect(device.peers.get(publicKey(2))?.allowedIps).toEqual(new Set([ours]))
    expect(device.peers.get(publicKey(3))?.allowedIps).toEqual(new Set([theirs]))
  })

  test('that it is gone leaves nothing', () => {
    const device = new DeviceMirror(LINK.name)
    device.notePeer({ kind: 'set', publicKey: publicKey(2) })
    device.noteRemoval()
    expect([device.status, device.peers.size, device.writtenEndpoints.size]).toEqual([undefined, 0, 0])
  })
})
