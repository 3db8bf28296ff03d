import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { unverifiedPublicKey } from '#keys/public-key.ts'
import { AttributeWriter } from '#wg/netlink/attributes.ts'
import { NetlinkFormatError } from '#wg/netlink/errors.ts'
import { atOnce } from '#wg/slices.ts'
import * as wg from '#wg/wireguard/constants.ts'
import { parseDevice as parseInSteps, parseSomePeers } from '#wg/wireguard/parse.ts'
import { deviceChange } from './arbitrary.ts'
import { dumpDevice } from './kernel-model.ts'
import { ModelDevice } from './model.ts'
import { picture } from './picture.ts'

const parseDevice = (messages: readonly { readonly payload: Uint8Array }[]) => atOnce(parseInSteps(messages))

const NOBODY = PrivateKey.generate().publicKey()
const GENL_HEADER = [wg.WG_CMD_GET_DEVICE, wg.WG_GENL_VERSION, 0, 0]
const message = (attributes: Uint8Array) => ({ payload: Uint8Array.of(...GENL_HEADER, ...attributes) })
const dump = (device: ModelDevice, bytes: number) => dumpDevice('wg0', device, bytes).map(message)

/** A dump of one peer with these attributes. */
const onePeer = (write: (writer: AttributeWriter) => void) => {
  const writer = new AttributeWriter().string(wg.WGDEVICE_A_IFNAME, 'wg0')
  writer.nested(wg.WGDEVICE_A_PEERS, () => {
    writer.nested(0, () => {
      writer.binary(wg.WGPEER_A_PUBLIC_KEY, new Uint8Array(32).fill(9))
      write(writer)
    })
  })
  return [...parseDevice([message(writer.bytes())]).peers.values()][0]
}

describe('a dump of WG_CMD_GET_DEVICE', () => {
  it('gives the device, however the kernel cuts it', () => {
    fc.assert(
      fc.property(
        deviceChange({ maxPeers: 40, maxPrefixes: 200 }),
        fc.integer({ min: 200, max: 4_000 }),
        (change, bytes) => {
          const device = new ModelDevice().apply(change)
          expect(picture(parseDevice(dump(device, bytes)))).toEqual(device.picture())
        },
      ),
    )
  })

  it('gives some peers as it gives all, and how many there are, however the kernel cuts it', () => {
    fc.assert(
      fc.property(
        deviceChange({ maxPeers: 40, maxPrefixes: 200 }),
        fc.integer({ min: 200, max: 4_000 }),
        fc.nat(),
        (change, bytes, which) => {
          const messages = dump(new ModelDevice().apply(change), bytes)
          const { peers } = parseDevice(messages)
          const asked = [...peers].filter((_, place) => (which >> (place % 31)) % 2 === 1)
          const keys = new Set([...asked.map(([key]) => key), NOBODY])
          expect(atOnce(parseSomePeers(messages, keys))).toEqual({ total: peers.size, peers: new Map(asked) })
        },
      ),
    )
  })

  it('gives none but those that are asked for, where keys begin with the same bytes', () => {
    const keyLike = (last: number) =>
      unverifiedPublicKey(Uint8Array.from({ length: 32 }, (_, at) => (at < 31 ? 7 : last)))
    const [asked, other] = [keyLike(1), keyLike(2)]
    const peers = [asked, other].map(publicKey => ({ kind: 'set' as const, publicKey }))
    const some = atOnce(parseSomePeers(dump(new ModelDevice().apply({ peers }), 4_000), new Set([asked])))
    expect([...some.peers.keys()]).toEqual([asked])
  })

  it('gives 2,000 peers', () => {
    fc.assert(
      fc.property(deviceChange({ maxPeers: 2_000, maxPrefixes: 4 }), change => {
        const device = new ModelDevice().apply(change)
        expect(picture(parseDevice(dump(device, 3_500)))).toEqual(device.picture())
      }),
      { numRuns: 3, endOnFailure: true },
    )
  }, 60_000)

  it('gives the device of this one, which Linux 6.12 sent', () => {
    const captured = [
      '00010000 06000600 6cca0000 08000700 00002000 08000100 02000000 08000200 77673000',
      `24000300 50${'51'.repeat(31)}`,
      '24000400 ad908a8a708aca07588cda7c4ed3e44d4966a80a9abb2f1e4bbac53c67414e34',
      'e8000880 e4000080 24000100 8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
      `24000200 ${'00'.repeat(32)}`,
      `14000600 ${'00'.repeat(16)} 06000500 19000000`,
      `0c000800 ${'00'.repeat(8)} 0c000700 ${'00'.repeat(8)} 08000a00 01000000`,
      '14000400 0200ca6c ac100002 0000000000000000 48000980',
      '1c000080 05000300 18000000 06000100 02000000 08000200 0af40200',
      '28000080 05000300 40000000 06000100 0a000000 14000200 fd000002000000000000000000000000',
    ]
    const payload = Buffer.from(captured.join('').replaceAll(' ', ''), 'hex')
    const privateKey = PrivateKey.fromBytes(Buffer.alloc(32, 0x51))
    const device = parseDevice([{ payload }])
    expect(device).toMatchObject({
      name: 'wg0',
      publicKey: privateKey.publicKey(),
      listenPort: 51820,
      fwmark: 0x200000,
    })
    expect(device.privateKey?.equals(privateKey)).toBe(true)
    expect([...device.peers.values()]).toEqual([
      {
        publicKey: 'hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=',
        endpoint: { address: '172.16.0.2', port: 51820 },
        allowedIps: new Set(['10.244.2.0/24', 'fd00:2::/64']),
        persistentKeepalive: 25,
        latestHandshake: 0n,
        rxBytes: 0n,
        txBytes: 0n,
      },
    ])
  })

  it('gives the public key that belongs to the private one', () => {
    const privateKey = PrivateKey.generate()
    const device = parseDevice(dump(new ModelDevice().apply({ privateKey }), 4_000))
    expect(device.publicKey).toBe(privateKey.publicKey())
    expect(device.privateKey?.equals(privateKey)).toBe(true)
    expect(device.name).toBe('wg0')
  })

  it('gives a device without a key for what it is', () => {
    const { publicKey, privateKey, listenPort } = parseDevice(dump(new ModelDevice(), 4_000))
    expect({ publicKey, privateKey, listenPort }).toEqual({
      publicKey: undefined,
      privateKey: undefined,
      listenPort: 0,
    })
    const zero = new AttributeWriter().string(wg.WGDEVICE_A_IFNAME, 'wg0').binary(3, new Uint8Array(32))
    expect(parseDevice([message(zero.bytes())]).privateKey).toBeUndefined()
  })

  it('gives times of both widths in nanoseconds', () => {
    const wide = Buffer.alloc(16)
    wide.writeBigInt64LE(1_760_000_000n, 0)
    wide.writeBigInt64LE(123_456_789n, 8)
    const narrow = Buffer.alloc(8)
    narrow.writeInt32LE(1_760_000_000, 0)
    narrow.writeInt32LE(123_456_789, 4)
    for (const time of [wide, narrow])
      expect(onePeer(writer => writer.binary(wg.WGPEER_A_LAST_HANDSHAKE_TIME, time))?.latestHandshake).toBe(
        1_760_000_000_123_456_789n,
      )
  })

  it('gives counters beyond 2^53 exactly', () => {
    const most = new Uint8Array(8).fill(0xff)
    const peer = onePeer(writer => writer.binary(wg.WGPEER_A_RX_BYTES, most).binary(wg.WGPEER_A_TX_BYTES, most))
    expect([peer?.rxBytes, peer?.txBytes]).toEqual([2n ** 64n - 1n, 2n ** 64n - 1n])
  })

  it('takes an endpoint with port 0 for none', () => {
    const sockaddr = Buffer.from('02000000ac1000020000000000000000', 'hex')
    expect(onePeer(writer => writer.binary(wg.WGPEER_A_ENDPOINT, sockaddr))?.endpoint).toBeUndefined()
  })

  it('shows a peer whose key nobody should have configured, so that it can be removed', () => {
    const writer = new AttributeWriter().string(wg.WGDEVICE_A_IFNAME, 'wg0')
    writer.nested(wg.WGDEVICE_A_PEERS, () => {
      writer.nested(0, () => writer.binary(wg.WGPEER_A_PUBLIC_KEY, new Uint8Array(32)))
    })
    expect([...parseDevice([message(writer.bytes())]).peers.keys()]).toEqual([`${'A'.repeat(43)}=`])
  })

  const prefix = (family: number, address: number, mask: number) => () =>
    onePeer(writer => {
      writer.nested(wg.WGPEER_A_ALLOWEDIPS, () => {
        writer.nested(0, () => writer.u16(1, family).binary(2, new Uint8Array(address)).u8(3, mask))
      })
    })
  it.each<[string, () => unknown]>([
    ['no message', () => parseDevice([])],
    ['a message without a header', () => parseDevice([{ payload: Uint8Array.of(0, 1) }])],
    ['another command', () => parseDevice([{ payload: Uint8Array.of(1, 1, 0, 0) }])],
    ['no name', () => parseDevice([message(new Uint8Array(0))])],
    ['a time of 12 bytes', () => onePeer(writer => writer.binary(wg.WGPEER_A_LAST_HANDSHAKE_TIME, new Uint8Array(12)))],
    ['a prefix of an unknown family', prefix(7, 4, 24)],
    ['an IPv4 prefix of 16 bytes', prefix(2, 16, 24)],
    ['an IPv6 prefix of 4 bytes', prefix(10, 4, 24)],
    ['an IPv4 prefix of 33 bits', prefix(2, 4, 33)],
    ['an IPv6 prefix of 129 bits', prefix(10, 16, 129)],
  ])('with %s is refused', (_, parse) => {
    expect(parse).toThrow(NetlinkFormatError)
  })
})

describe('whatever the bytes, a dump gives a device or the typed error:', () => {
  const parses = (payloads: Uint8Array[]) => {
    try {
      parseDevice(payloads.map(payload => ({ payload })))
    } catch (error) {
      expect(error).toBeInstanceOf(NetlinkFormatError)
    }
  }

  it('random ones', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), payloads => {
        parses(payloads.map(payload => Uint8Array.of(...GENL_HEADER, ...payload)))
        parses(payloads)
      }),
      { numRuns: 2_000 },
    )
  })

  it('cut and changed ones', () => {
    const valid = deviceChange({ maxPeers: 5, maxPrefixes: 5 }).map(change =>
      dump(new ModelDevice().apply(change), 600),
    )
    fc.assert(
      fc.property(
        valid,
        fc.nat(),
        fc.array(fc.tuple(fc.nat(), fc.nat(7)), { maxLength: 4 }),
        (messages, cut, flips) => {
          const payloads = messages.map(({ payload }) => payload)
          const victim = payloads[cut % payloads.length] ?? new Uint8Array(0)
          for (const [at, bit] of flips) {
            const index = at % victim.length
            victim[index] = (victim[index] ?? 0) ^ (1 << bit)
          }
          parses(payloads)
          parses([victim.subarray(0, cut % (victim.length + 1))])
        },
      ),
      { numRuns: 2_000 },
    )
  })
})
