import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { publicKeyBytes } from '#keys/public-key.ts'
import type { DeviceChange } from '#wg/device/device.ts'
import { PeerReader } from '#wg/device/peer-reader.ts'
import { formatEndpoint } from '#wg/ip.ts'
import { AnswerSplitter } from '#wg/uapi/answer.ts'
import { UapiFormatError } from '#wg/uapi/errors.ts'
import { DeviceReading, type Reading, SomePeersReading } from '#wg/uapi/parse.ts'
import { deviceChange, publicKey } from './arbitrary.ts'
import { ModelDevice } from './model.ts'
import { picture } from './picture.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const KEY = 'b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33'

/** `get=1` as wireguard-go answers it. */
function answer({ privateKey, listenPort, fwmark, peers }: ModelDevice): string {
  const lines: string[] = []
  if (privateKey) lines.push(`private_key=${hex(privateKey.reveal())}`)
  if (listenPort) lines.push(`listen_port=${listenPort}`)
  if (fwmark) lines.push(`fwmark=${fwmark}`)
  for (const [publicKey, { endpoint, persistentKeepalive, allowedIps }] of peers) {
    lines.push(`public_key=${hex(publicKeyBytes(publicKey))}`, `preshared_key=${'0'.repeat(64)}`, 'protocol_version=1')
    if (endpoint) lines.push(`endpoint=${formatEndpoint(endpoint)}`)
    lines.push('last_handshake_time_sec=0', 'last_handshake_time_nsec=0', 'tx_bytes=0', 'rx_bytes=0')
    lines.push(`persistent_keepalive_interval=${persistentKeepalive}`)
    for (const cidr of allowedIps) lines.push(`allowed_ip=${cidr}`)
  }
  return `${[...lines, 'errno=0'].join('\n')}\n\n`
}

/** @param size characters that come at a time @returns the number that ends the answer */
function read<R extends Reading>(text: string, reading: R, size = text.length): R {
  const splitter = new AnswerSplitter()
  for (let at = 0; at < text.length; at += size)
    for (const section of splitter.push(text.slice(at, at + size))) reading.take(section)
  if (splitter.errno === undefined) throw new UapiFormatError('the answer ends early')
  return reading
}

function errnoOf(text: string): number | undefined {
  const splitter = new AnswerSplitter()
  expect([...splitter.push(text)]).toEqual([])
  return splitter.errno
}

const parse = (text: string, size?: number) => read(text, new DeviceReading('wg0'), size).device
const peer = (...lines: string[]) => {
  const [first] = parse(`${[`public_key=${KEY}`, ...lines, 'errno=0'].join('\n')}\n\n`).peers.values()
  return first
}

describe('the answer to get=1', () => {
  it('gives the device', () => {
    fc.assert(
      fc.property(deviceChange({ maxPeers: 40, maxPrefixes: 20 }), change => {
        const device = new ModelDevice().apply(change)
        expect(picture(parse(answer(device)))).toEqual(device.picture())
      }),
    )
  })

  it('gives the same however it was cut on its way', () => {
    fc.assert(
      fc.property(deviceChange({ maxPeers: 10, maxPrefixes: 5 }), fc.integer({ min: 1, max: 400 }), (change, size) => {
        const device = new ModelDevice().apply(change)
        expect(picture(parse(answer(device), size))).toEqual(device.picture())
      }),
    )
  })

  it('gives the device as it is now, whatever it said before', () => {
    const [one, two, three] = fc.sample(publicKey, 3)
    /** Always of the same three. */
    const ofThree = ({ peers, ...change }: DeviceChange): DeviceChange => ({
      ...change,
      peers: (peers ?? []).map((peer, place) => ({ ...peer, publicKey: [one, two, three][place] ?? peer.publicKey })),
    })
    const change = deviceChange({ maxPeers: 3, maxPrefixes: 4 }).map(ofThree)
    const changes = fc.array(change, { minLength: 2, maxLength: 6 })
    fc.assert(
      fc.property(changes, changes => {
        const reader = new PeerReader()
        const device = new ModelDevice()
        for (const change of changes) {
          device.apply(change)
          const reading = read(answer(device), new DeviceReading('wg0', reader))
          expect(picture(reading.device)).toEqual(device.picture())
        }
      }),
    )
  })

  it('gives some peers as it gives all, and how many there are', () => {
    const nobody = PrivateKey.generate().publicKey()
    fc.assert(
      fc.property(deviceChange({ maxPeers: 40, maxPrefixes: 20 }), fc.nat(), (change, which) => {
        const text = answer(new ModelDevice().apply(change))
        const { peers } = parse(text)
        const asked = [...peers].filter((_, place) => (which >> (place % 31)) % 2 === 1)
        const keys = new Set([...asked.map(([key]) => key), nobody])
        const { some } = read(text, new SomePeersReading(keys))
        expect(some).toEqual({ total: peers.size, peers: new Map(asked) })
      }),
    )
  })

  it('gives the public key, which the protocol leaves to the reader', () => {
    const privateKey = PrivateKey.generate()
    const device = parse(answer(new ModelDevice().apply({ privateKey })))
    expect(device.publicKey).toBe(privateKey.publicKey())
  })

  it('gives a device without a key for what it is', () => {
    expect(parse('errno=0\n\n')).toMatchObject({
      publicKey: undefined,
      privateKey: undefined,
      listenPort: 0,
      fwmark: 0,
    })
    expect(parse(`private_key=${'0'.repeat(64)}\nerrno=0\n\n`).privateKey).toBeUndefined()
  })

  it('adds seconds and nanoseconds up', () => {
    const given = peer('last_handshake_time_sec=1760000000', 'last_handshake_time_nsec=123456789')
    expect(given?.latestHandshake).toBe(1_760_000_000_123_456_789n)
  })

  it('leaves out the zone of a link-local endpoint, and port 0', () => {
    expect(peer('endpoint=[fe80::1%eth0]:51820')?.endpoint).toEqual({ address: 'fe80::1', port: 51820 })
    expect(peer('endpoint=10.0.0.1:0')?.endpoint).toBeUndefined()
  })

  it('keeps an IPv4-mapped prefix for the IPv6 prefix that it is there', () => {
    expect(peer('allowed_ip=::ffff:10.0.0.0/104')?.allowedIps).toEqual(new Set(['::ffff:a00:0/104']))
  })

  it('passes over keys that a later version may add', () => {
    expect(peer('something_new=yes', 'rx_bytes=7')?.rxBytes).toBe(7n)
  })

  it('says by which number it was refused, whatever its sign', () => {
    expect(errnoOf('errno=-98\n\n')).toBe(98)
    expect(errnoOf('errno=98\n\n')).toBe(98)
  })

  it.each([
    ['nothing', ''],
    ['no blank line', 'errno=0\n'],
    ['no errno', 'listen_port=1\n\n'],
    ['two of them', 'errno=0\nerrno=0\n\n'],
    ['an errno that is no number', 'errno=x\n\n'],
    ['a line without a value', 'listen_port\nerrno=0\n\n'],
    ['a line that is too long', `${'a'.repeat(60)}=${'1'.repeat(200)}\nerrno=0\n\n`],
    ['a blank line within', 'listen_port=1\n\nfwmark=1\nerrno=0\n\n'],
    ['a port out of range', 'listen_port=65536\nerrno=0\n\n'],
    ['a negative port', 'listen_port=-1\nerrno=0\n\n'],
    ['a mark out of range', 'fwmark=4294967296\nerrno=0\n\n'],
    ['a short key', 'private_key=00ff\nerrno=0\n\n'],
    ['a key in base64', `public_key=${'A'.repeat(43)}=\nerrno=0\n\n`],
    ['a counter of 65 bits', `public_key=${KEY}\nrx_bytes=18446744073709551616\nerrno=0\n\n`],
    ['a prefix that is none', `public_key=${KEY}\nallowed_ip=10.0.0.0/40\nerrno=0\n\n`],
    ['an endpoint that is a name', `public_key=${KEY}\nendpoint=node-1:51820\nerrno=0\n\n`],
  ])('with %s is refused', (_, text) => {
    expect(() => parse(text)).toThrow(UapiFormatError)
  })

  it('is refused without repeating the key in it', () => {
    const secret = hex(PrivateKey.generate().reveal())
    for (const text of [
      `private_key=${secret}0\nerrno=0\n\n`,
      `private_key=${secret}\n`,
      `private_key ${secret}\nerrno=0\n\n`,
    ]) {
      let shown = ''
      try {
        parse(text)
      } catch (error) {
        shown = inspect(error, { depth: Infinity, showHidden: true })
      }
      expect(shown).toContain('UapiFormatError')
      expect(shown).not.toContain(secret.slice(0, 10))
    }
  })

  it('gives a device or the typed error, whatever the text', () => {
    const valid = deviceChange({ maxPeers: 3, maxPrefixes: 3 }).map(change => answer(new ModelDevice().apply(change)))
    const damage = fc.array(fc.tuple(fc.nat(), fc.constantFrom(...'=\n0-/:.%[]fz\0é'.split(''))), { maxLength: 4 })
    const damaged = fc.tuple(valid, damage).map(([text, places]) => {
      let given = text
      for (const [at, character] of places) {
        const index = at % given.length
        given = `${given.slice(0, index)}${character}${given.slice(index + (at % 2))}`
      }
      return given
    })
    fc.assert(
      fc.property(
        fc.oneof(
          damaged,
          fc.string(),
          fc.string().map(text => `${text}\nerrno=0\n\n`),
        ),
        text => {
          try {
            parse(text)
          } catch (error) {
            expect(error).toBeInstanceOf(UapiFormatError)
          }
        },
      ),
      { numRuns: 3_000 },
    )
  })
})
