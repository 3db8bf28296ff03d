import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { parsePublicKey } from '#keys/public-key.ts'
import type { DeviceChange } from '#wg/device/device.ts'
import { parseAddress, parseCidr } from '#wg/ip.ts'
import { type Attribute, readAttributes } from '#wg/netlink/attributes.ts'
import type { NetlinkRequest } from '#wg/netlink/message.ts'
import * as wg from '#wg/wireguard/constants.ts'
import { encodeGetDevice, encodeSetDevice } from '#wg/wireguard/encode.ts'
import { deviceChange } from './arbitrary.ts'
import { KernelModel } from './kernel-model.ts'
import { ModelDevice } from './model.ts'

const FAMILY = { id: 0x21, version: 1 }
const PEER = parsePublicKey('hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=')
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** The model kernel after these messages. */
async function applied(before: DeviceChange, change: DeviceChange, maxPayload?: number): Promise<ModelDevice> {
  const kernel = new KernelModel()
  const device = new ModelDevice().apply(before)
  kernel.devices.set('wg0', device)
  for (const request of encodeSetDevice(FAMILY, 'wg0', change, maxPayload)) await kernel.request(request, 'test')
  return device
}

const attributesOf = (request: NetlinkRequest): Attribute[] => readAttributes(request.payload.subarray(4))
const peersOf = (request: NetlinkRequest): Attribute[][] =>
  attributesOf(request)
    .filter(({ type }) => type === wg.WGDEVICE_A_PEERS)
    .flatMap(peers => peers.nested().map(peer => peer.nested()))

describe('WG_CMD_SET_DEVICE', () => {
  it('has these bytes for a new device', () => {
    const change = { privateKey: PrivateKey.fromBytes(Buffer.alloc(32, 0x51)), listenPort: 51820, fwmark: 0x200000 }
    const [request, ...more] = encodeSetDevice(FAMILY, 'wireguard.cali', change)
    expect(more).toEqual([])
    expect(request?.type).toBe(0x21)
    expect(hex(request?.payload ?? new Uint8Array(0))).toBe(
      [
        '01010000', // struct genlmsghdr: WG_CMD_SET_DEVICE, version 1
        '1300 0200 776972656775617264 2e63616c69 00 00', // WGDEVICE_A_IFNAME "wireguard.cali", padded
        `2400 0300 50${'51'.repeat(31)}`, // WGDEVICE_A_PRIVATE_KEY, clamped
        '0600 0600 6cca 0000', // WGDEVICE_A_LISTEN_PORT 51820
        '0800 0700 00002000', // WGDEVICE_A_FWMARK 0x200000
      ]
        .join('')
        .replaceAll(' ', ''),
    )
  })

  it('has these bytes for a peer with an endpoint, prefixes of both families and a keepalive', () => {
    const [request] = encodeSetDevice(FAMILY, 'wg0', {
      peers: [
        {
          kind: 'set',
          publicKey: PEER,
          updateOnly: true,
          endpoint: { address: parseAddress('172.16.0.2'), port: 51820 },
          persistentKeepalive: 25,
          addAllowedIps: [parseCidr('10.244.2.0/24')],
          removeAllowedIps: [parseCidr('fd00:2::/64')],
        },
      ],
    })
    expect(hex(request?.payload ?? new Uint8Array(0))).toBe(
      [
        '01010000',
        '0800 0200 77673000', // WGDEVICE_A_IFNAME "wg0"
        'a000 0880', // WGDEVICE_A_PEERS | NLA_F_NESTED
        '9c00 0080', // entry 0 | NLA_F_NESTED
        '2400 0100 8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a', // WGPEER_A_PUBLIC_KEY
        '0800 0300 04000000', // WGPEER_A_FLAGS WGPEER_F_UPDATE_ONLY
        '1400 0400 0200 ca6c ac100002 0000000000000000', // WGPEER_A_ENDPOINT struct sockaddr_in
        '5000 0980', // WGPEER_A_ALLOWEDIPS | NLA_F_NESTED
        '3000 0080', // entry 0 | NLA_F_NESTED
        '0600 0100 0a00 0000', // WGALLOWEDIP_A_FAMILY AF_INET6
        '1400 0200 fd000002000000000000000000000000', // WGALLOWEDIP_A_IPADDR
        '0500 0300 40 000000', // WGALLOWEDIP_A_CIDR_MASK 64
        '0800 0400 01000000', // WGALLOWEDIP_A_FLAGS WGALLOWEDIP_F_REMOVE_ME
        '1c00 0080', // entry 0 | NLA_F_NESTED
        '0600 0100 0200 0000', // WGALLOWEDIP_A_FAMILY AF_INET
        '0800 0200 0af40200', // WGALLOWEDIP_A_IPADDR
        '0500 0300 18 000000', // WGALLOWEDIP_A_CIDR_MASK 24
        '0600 0500 1900 0000', // WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL 25
      ]
        .join('')
        .replaceAll(' ', ''),
    )
  })

  it('means the change, however it is cut into messages', async () => {
    await fc.assert(
      fc.asyncProperty(
        deviceChange({ maxPeers: 20, maxPrefixes: 60 }),
        deviceChange({ maxPeers: 20, maxPrefixes: 60 }),
        fc.integer({ min: 512, max: 4_096 }),
        async (before, change, maxPayload) => {
          const expected = new ModelDevice().apply(before).apply(change).picture()
          expect((await applied(before, change, maxPayload)).picture()).toEqual(expected)
          expect((await applied(before, change)).picture()).toEqual(expected)
        },
      ),
    )
  })

  it('means the change with 2,000 peers', async () => {
    await fc.assert(
      fc.asyncProperty(deviceChange({ maxPeers: 2_000, maxPrefixes: 4 }), async change => {
        expect((await applied({}, change)).picture()).toEqual(new ModelDevice().apply(change).picture())
      }),
      { numRuns: 3, endOnFailure: true },
    )
  }, 60_000)

  it('is never longer than it may be, and names the device alone in every message but the first', () => {
    fc.assert(
      fc.property(
        deviceChange({ maxPeers: 60, maxPrefixes: 60 }),
        fc.integer({ min: 512, max: 8_192 }),
        (change, max) => {
          const [first, ...more] = encodeSetDevice(FAMILY, 'wg0', change, max)
          for (const request of first ? [first, ...more] : [])
            expect(request.payload.length).toBeLessThanOrEqual(max + 4)
          for (const request of more)
            expect(attributesOf(request).map(({ type }) => type)).toEqual([wg.WGDEVICE_A_IFNAME, wg.WGDEVICE_A_PEERS])
        },
      ),
    )
  })

  it('is nothing for a change of nothing', () => {
    expect(encodeSetDevice(FAMILY, 'wg0', {})).toEqual([])
    expect(encodeSetDevice(FAMILY, 'wg0', { peers: [] })).toEqual([])
  })

  it('puts no private key, port or mark in a change of peers', () => {
    const [request] = encodeSetDevice(FAMILY, 'wg0', { peers: [{ kind: 'remove', publicKey: PEER }] })
    expect(request && attributesOf(request).map(({ type }) => type)).toEqual([
      wg.WGDEVICE_A_IFNAME,
      wg.WGDEVICE_A_PEERS,
    ])
  })

  it('never asks to replace peers or allowed IPs', () => {
    fc.assert(
      fc.property(deviceChange({ maxPeers: 20, maxPrefixes: 20 }), change => {
        for (const request of encodeSetDevice(FAMILY, 'wg0', change)) {
          expect(attributesOf(request).some(({ type }) => type === 5)).toBe(false)
          for (const peer of peersOf(request))
            expect((peer.find(({ type }) => type === wg.WGPEER_A_FLAGS)?.u32() ?? 0) & 2).toBe(0)
        }
      }),
    )
  })

  it('repeats of a peer that is cut only its key and flags, and keeps the keepalive for the end', () => {
    const addAllowedIps = Array.from({ length: 3_000 }, (_, i) => parseCidr(`10.${i >> 8}.${i & 255}.0/24`))
    const endpoint = { address: parseAddress('fd00::1'), port: 51820 }
    const requests = encodeSetDevice(FAMILY, 'wg0', {
      peers: [{ kind: 'set', publicKey: PEER, updateOnly: true, endpoint, persistentKeepalive: 25, addAllowedIps }],
    })
    const pieces = requests.flatMap(peersOf).map(peer => peer.map(({ type }) => type))
    const { WGPEER_A_PUBLIC_KEY: key, WGPEER_A_FLAGS: flags, WGPEER_A_ALLOWEDIPS: prefixes } = wg
    expect(pieces).toEqual([
      [key, flags, wg.WGPEER_A_ENDPOINT, prefixes],
      [key, flags, prefixes],
      [key, flags, prefixes, wg.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL],
    ])
  })

  it('packs hundreds of peers in a message, and removals into small ones, each of which blocks for its grace periods', () => {
    const keys = Array.from({ length: 1_000 }, () => PrivateKey.generate().publicKey())
    const additions = keys.map((publicKey, i) => ({
      kind: 'set' as const,
      publicKey,
      endpoint: { address: parseAddress(`172.16.${i >> 8}.${i & 255}`), port: 51820 },
      addAllowedIps: [parseCidr(`10.${i >> 8}.${i & 255}.0/24`)],
    }))
    expect(encodeSetDevice(FAMILY, 'wg0', { peers: additions }).length).toBeLessThanOrEqual(4)
    const removals = encodeSetDevice(FAMILY, 'wg0', {
      peers: keys.map(publicKey => ({ kind: 'remove', publicKey })),
    })
    expect(Math.max(...removals.map(request => peersOf(request).length))).toBe(64)
  })

  it('refuses a limit that a peer does not fit into', () => {
    expect(() => encodeSetDevice(FAMILY, 'wg0', {}, 100)).toThrow(RangeError)
  })
})

it('WG_CMD_GET_DEVICE has these bytes', () => {
  const { type, payload } = encodeGetDevice(FAMILY, 'wg0')
  expect(type).toBe(0x21)
  expect(hex(payload)).toBe('00010000080002007767 3000'.replaceAll(' ', ''))
})
