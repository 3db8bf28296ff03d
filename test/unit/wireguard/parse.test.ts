import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { AttributeWriter } from '#wg/netlink/attributes.ts'
import { NetlinkFormatError } from '#wg/netlink/errors.ts'
import * as wg from '#wg/wireguard/constants.ts'
import { parseDevice } from '#wg/wireguard/parse.ts'
import { deviceChange } from './arbitrary.ts'
import { dumpDevice } from './kernel-model.ts'
import { ModelDevice } from './model.ts'
import { picture } from './picture.ts'

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

  it('gives 2,000 peers', () => {
    fc.assert(
      fc.property(deviceChange({ maxPeers: 2_000, maxPrefixes: 4 }), change => {
        const device = new ModelDevice().apply(change)
        expect(picture(parseDevice(dump(device, 3_500)))).toEqual(device.picture())
      }),
      { numRuns: 3, endOnFailure: true },
    )
  }, 60_000)

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
