import { BlockList, isIPv4, isIPv6, SocketAddress } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  addressBytes,
  addressFromBytes,
  cidrBytes,
  cidrContains,
  cidrFromBytes,
  familyOf,
  formatEndpoint,
  hostCidr,
  type IpAddress,
  IpFormatError,
  nthAddress,
  parseAddress,
  parseCidr,
  parseEndpoint,
  parseExactCidr,
  prefixLength,
  sameEndpoint,
} from '#wg/ip.ts'

const ipv4Text = fc.ipV4()
const ipv6Text = fc.ipV6()
const ipText = fc.oneof(ipv4Text, ipv6Text)
const ipv6Bytes = fc.uint8Array({ minLength: 16, maxLength: 16 })
/** Bytes with long runs of zeros, where the compression of RFC 5952 has its edges. */
const sparseIpv6Bytes = fc
  .array(fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 0xffff })), {
    minLength: 8,
    maxLength: 8,
  })
  .map(groups => Uint8Array.from(groups.flatMap(group => [group >>> 8, group & 0xff])))
const cidr = fc.oneof(
  fc
    .tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.nat(32))
    .map(([bytes, length]) => cidrFromBytes(bytes, length)),
  fc.tuple(fc.oneof(ipv6Bytes, sparseIpv6Bytes), fc.nat(128)).map(([bytes, length]) => cidrFromBytes(bytes, length)),
)

/** What Node.js makes of an address, as the independent opinion. */
function nodeCanonical(text: string): string {
  const { address } = new SocketAddress({ address: text, family: isIPv6(text) ? 'ipv6' : 'ipv4' })
  return address.startsWith('::ffff:') && isIPv4(address.slice(7)) ? address.slice(7) : address
}

const toBigInt = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString('hex')}`)

describe('addresses', () => {
  it('accepts what Node.js accepts and writes it as Node.js does', () => {
    fc.assert(
      fc.property(ipText, text => {
        // Node.js writes ::a.b.c.d (deprecated by RFC 4291) with a dotted tail, which RFC 5952 does not ask for.
        const expected = nodeCanonical(text)
        fc.pre(!/^::[\d.]+\./.test(expected))
        expect(parseAddress(text)).toBe(expected)
      }),
    )
  })

  it('survives the way to bytes and back', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), ipv6Bytes, sparseIpv6Bytes), bytes => {
        const address = addressFromBytes(bytes)
        expect(parseAddress(address)).toBe(address)
        expect(addressFromBytes(addressBytes(address))).toBe(address)
        const isMapped = Buffer.from(bytes).toString('hex').startsWith('00000000000000000000ffff')
        expect(addressBytes(address)).toEqual(isMapped ? bytes.subarray(12) : bytes)
      }),
      { examples: [[Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1)]] },
    )
  })

  // RFC 5952 sections 1, 2 and 4.
  it.each([
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:0db8::1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8::0:1', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8:aaaa:bbbb:cccc:dddd::1', '2001:db8:aaaa:bbbb:cccc:dddd:0:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:DB8::AbCd', '2001:db8::abcd'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['::0001', '::1'],
    ['1:0:0:0:0:0:0:0', '1::'],
  ])('writes %s as %s (RFC 5952)', (given, canonical) => {
    expect(parseAddress(given)).toBe(canonical)
  })

  it('turns an IPv4-mapped address into the IPv4 address, whichever way it came', () => {
    expect(parseAddress('::ffff:10.0.0.1')).toBe('10.0.0.1')
    expect(parseAddress('::FFFF:a00:1')).toBe('10.0.0.1')
    expect(addressFromBytes(Buffer.from('00000000000000000000ffff0a000001', 'hex'))).toBe('10.0.0.1')
  })

  it.each([
    '',
    ' 10.0.0.1',
    '10.0.0.01',
    '10.0.0',
    '10.0.0.256',
    'fe80::1%eth0',
    '[::1]',
    '1::2::3',
    '10.0.0.1/32',
    'g::',
    '::ffff:1.2.3.4.5',
  ])('refuses %j', text => {
    expect(() => parseAddress(text)).toThrow(IpFormatError)
  })

  it('quotes no more than 64 characters of what it refuses', () => {
    expect(() => parseAddress('x'.repeat(10_000))).toThrow(/^not an IP address: "x{64}…"$/)
  })
})

describe('prefixes', () => {
  it('are canonical: parsing one gives the same text', () => {
    fc.assert(
      fc.property(cidr, text => {
        expect(parseExactCidr(text)).toBe(text)
        expect(cidrFromBytes(cidrBytes(text), prefixLength(text))).toBe(text)
      }),
    )
  })

  it('lose their host bits', () => {
    fc.assert(
      fc.property(cidr, text => {
        const bits = familyOf(text) === 4 ? 32 : 128
        const hostBits = BigInt(bits - prefixLength(text))
        expect(toBigInt(cidrBytes(text)) & ((1n << hostBits) - 1n)).toBe(0n)
      }),
    )
    expect(parseCidr('10.1.2.3/8')).toBe('10.0.0.0/8')
    expect(parseCidr('fd00::1:2:3/64')).toBe('fd00::/64')
    expect(parseCidr('255.255.255.255/0')).toBe('0.0.0.0/0')
  })

  it('take a bare address for a prefix of full length', () => {
    expect(parseCidr('10.0.0.1')).toBe('10.0.0.1/32')
    expect(parseCidr('fd00::1')).toBe('fd00::1/128')
    expect(parseCidr('::ffff:10.0.0.1')).toBe('10.0.0.1/32')
  })

  it.each([
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '/8',
    'fd00::/129',
    '::ffff:10.0.0.0/104',
    '::ffff:0:0/96',
    'fe80::%1/64',
    '10.0.0.0/8 ',
  ])('refuses %j', text => {
    expect(() => parseCidr(text)).toThrow(IpFormatError)
  })

  it('keep an IPv4-mapped prefix of a device an IPv6 prefix, so that it never becomes all of IPv4', () => {
    expect(parseExactCidr('::ffff:10.0.0.0/104')).toBe('::ffff:a00:0/104')
    expect(cidrFromBytes(Buffer.from('00000000000000000000ffff00000000', 'hex'), 96)).toBe('::ffff:0:0/96')
    expect(cidrBytes(parseExactCidr('::ffff:10.0.0.0/104'))).toHaveLength(16)
  })

  it('contain what Node.js says they contain', () => {
    fc.assert(
      fc.property(cidr, ipText, (outer, text) => {
        const inner = parseAddress(text)
        const list = new BlockList()
        const family = familyOf(outer) === 4 ? 'ipv4' : 'ipv6'
        list.addSubnet(outer.slice(0, outer.indexOf('/')), prefixLength(outer), family)
        const sameFamily = familyOf(outer) === familyOf(inner)
        expect(cidrContains(outer, inner)).toBe(sameFamily && list.check(inner, family))
      }),
    )
  })

  it('contain their own addresses, themselves and longer prefixes of them, and no shorter one', () => {
    fc.assert(
      fc.property(cidr, fc.nat(128), (text, n) => {
        expect(cidrContains(text, text)).toBe(true)
        const bytes = cidrBytes(text)
        const length = n % (bytes.length * 8 + 1)
        expect(cidrContains(text, cidrFromBytes(bytes, length))).toBe(length >= prefixLength(text))
      }),
    )
  })

  it('count their addresses from the network address, and stop at the end', () => {
    fc.assert(
      fc.property(cidr, fc.maxSafeNat(), (text, offset) => {
        fc.pre(!text.startsWith('::ffff:'))
        const bits = cidrBytes(text).length * 8
        const size = 1n << BigInt(bits - prefixLength(text))
        const address = nthAddress(text, offset)
        if (BigInt(offset) >= size) expect(address).toBeUndefined()
        else expect(toBigInt(addressBytes(address as IpAddress))).toBe(toBigInt(cidrBytes(text)) + BigInt(offset))
      }),
    )
  })

  it.each([
    ['10.0.0.0/24', 0, '10.0.0.0'],
    ['10.0.0.0/24', 255, '10.0.0.255'],
    ['10.0.0.0/24', 256, undefined],
    ['255.255.255.0/24', 256, undefined],
    ['10.0.0.0/24', -1, undefined],
    ['10.0.0.0/24', 1.5, undefined],
    ['fd00::/64', 2 ** 32 + 1, 'fd00::1:0:1'],
    ['10.0.0.7/32', 0, '10.0.0.7'],
  ])('address of %s at %d is %s', (text, offset, expected) => {
    expect(nthAddress(parseCidr(text), offset)).toBe(expected)
  })

  it('of one host are what a bare address parses to', () => {
    fc.assert(
      fc.property(ipText, text => {
        expect(hostCidr(parseAddress(text))).toBe(parseCidr(text))
      }),
    )
  })

  it('refuse lengths that bytes cannot have', () => {
    for (const length of [-1, 33, 1.5, Number.NaN])
      expect(() => cidrFromBytes(new Uint8Array(4), length)).toThrow(IpFormatError)
    expect(() => cidrFromBytes(new Uint8Array(5), 8)).toThrow(IpFormatError)
  })
})

describe('endpoints', () => {
  it('survive the way to text and back', () => {
    fc.assert(
      fc.property(ipText, fc.integer({ min: 1, max: 65535 }), (text, port) => {
        const endpoint = { address: parseAddress(text), port }
        expect(parseEndpoint(formatEndpoint(endpoint))).toEqual(endpoint)
        expect(sameEndpoint(parseEndpoint(formatEndpoint(endpoint)), endpoint)).toBe(true)
      }),
    )
  })

  it.each([
    '10.0.0.1',
    '10.0.0.1:',
    '10.0.0.1:0',
    '10.0.0.1:65536',
    '10.0.0.1:080',
    'fd00::1:51820',
    '[10.0.0.1]:51820',
    '[fe80::1%eth0]:1',
    'node-1:51820',
    ':51820',
    '[]:1',
  ])('refuses %j', text => {
    expect(() => parseEndpoint(text)).toThrow(IpFormatError)
  })

  it('differ by address, by port and from none', () => {
    const endpoint = parseEndpoint('[fd00::1]:51820')
    expect(sameEndpoint(endpoint, { ...endpoint, port: 1 })).toBe(false)
    expect(sameEndpoint(endpoint, { ...endpoint, address: parseAddress('fd00::2') })).toBe(false)
    expect(sameEndpoint(endpoint, undefined)).toBe(false)
    expect(sameEndpoint(undefined, undefined)).toBe(true)
  })
})

it('arbitrary text is either parsed or refused with the typed error', () => {
  const parsers: readonly ((text: string) => unknown)[] = [parseAddress, parseCidr, parseExactCidr, parseEndpoint]
  const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'0123456789abcdef:./[]%'.split('')) }))
  fc.assert(
    fc.property(text, fc.constantFrom(...parsers), (given, parse) => {
      try {
        parse(given)
      } catch (error) {
        expect(error).toBeInstanceOf(IpFormatError)
      }
    }),
    { numRuns: 2_000 },
  )
})
