import { expect, test } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import type { DeviceStatus, PeerStatus } from '#wg/device/device.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { DeviceMirror } from '#wg/reconcile/device-mirror.ts'
import { foreignChanges } from '#wg/reconcile/foreign.ts'
import { peerStatus, publicKey } from '../mesh/records.ts'

const [A, B] = [publicKey(1), publicKey(2)]
const [ONE, TWO] = ['10.1.0.0/16', '10.2.0.0/16'].map(parseCidr) as [ReturnType<typeof parseCidr>, never]

const key = PrivateKey.generate()
const peer = peerStatus(A, { allowedIps: new Set([ONE]), persistentKeepalive: 25 })

const device = (fields: Partial<DeviceStatus> = {}, ...peers: readonly PeerStatus[]): DeviceStatus => ({
  name: 'wireguard.cali',
  publicKey: key.publicKey(),
  privateKey: key,
  listenPort: 51820,
  fwmark: 8,
  peers: new Map(peers.map(each => [each.publicKey, each])),
  ...fields,
})

function mirrored(): DeviceMirror {
  const mirror = new DeviceMirror('wireguard.cali')
  mirror.noteStatus(device({}, peer))
  return mirror
}

test.each<[string, DeviceStatus, string[]]>([
  ['nothing', device({}, peer), []],
  [
    'what changes by itself',
    device(
      {},
      {
        ...peer,
        endpoint: { address: parseAddress('192.0.2.1'), port: 1 },
        latestHandshake: 5n,
        rxBytes: 7n,
        txBytes: 9n,
      },
    ),
    [],
  ],
  ['a peer taken away', device(), [`removed peer ${A.slice(0, 8)} from wireguard.cali`]],
  ['a peer put there', device({}, peer, peerStatus(B)), [`added peer ${B.slice(0, 8)} to wireguard.cali`]],
  [
    'other addresses',
    device({}, { ...peer, allowedIps: new Set([TWO]) }),
    [`changed what peer ${A.slice(0, 8)} of wireguard.cali may send: +10.2.0.0/16 -10.1.0.0/16`],
  ],
  [
    'another keepalive',
    device({}, { ...peer, persistentKeepalive: 1 }),
    [`changed the keepalive of peer ${A.slice(0, 8)} of wireguard.cali to 1`],
  ],
  [
    'another port, mark and key',
    device({ listenPort: 7, fwmark: 0, publicKey: publicKey(3) }, peer),
    [
      'changed the key of wireguard.cali',
      'changed the port of wireguard.cali from 51820 to 7',
      'changed the mark of wireguard.cali to 0x0',
    ],
  ],
])('of a device that is read again, what somebody else did is told: %s', (_, now, words) => {
  expect(foreignChanges(mirrored(), now)).toEqual(words)
})

test('what was written is not taken for somebody else’s doing, a prefix that moved included', () => {
  const mirror = mirrored()
  mirror.notePeer({ kind: 'set', publicKey: B, addAllowedIps: [ONE, TWO], persistentKeepalive: 5 })
  mirror.notePeer({ kind: 'set', publicKey: A, updateOnly: true, persistentKeepalive: 0 })
  const taken = { ...peer, allowedIps: new Set<never>(), persistentKeepalive: 0 }
  const taker = peerStatus(B, { allowedIps: new Set([TWO, ONE]), persistentKeepalive: 5 })
  expect(foreignChanges(mirror, device({}, taken, taker))).toEqual([])
})
