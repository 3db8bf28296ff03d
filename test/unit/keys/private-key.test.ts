import { format, inspect } from 'node:util'
import fc from 'fast-check'
import nacl from 'tweetnacl'
import { describe, expect, it } from 'vitest'
import { KeyFormatError } from '#keys/errors.ts'
import { PrivateKey } from '#keys/private-key.ts'

const seed = fc.uint8Array({ minLength: 32, maxLength: 32 }).filter(bytes => bytes.some(byte => byte !== 0))
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

describe('a private key', () => {
  it('has the public key that tweetnacl computes', () => {
    fc.assert(
      fc.property(seed, bytes => {
        expect(PrivateKey.fromBytes(bytes).publicKey()).toBe(base64(nacl.scalarMult.base(bytes)))
      }),
    )
  })

  it('agrees with its peer on a secret, as tweetnacl computes it', () => {
    const [a, b] = [PrivateKey.generate(), PrivateKey.generate()]
    const shared = (own: PrivateKey, peer: PrivateKey): string =>
      base64(nacl.scalarMult(own.reveal(), Buffer.from(peer.publicKey(), 'base64')))
    expect(shared(a, b)).toBe(shared(b, a))
  })

  // RFC 7748 section 6.1.
  it.each([
    [
      '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a',
      '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
    ],
    [
      '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb',
      'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
    ],
  ])('%s has the public key of RFC 7748', (secret, expected) => {
    const key = PrivateKey.fromBytes(Buffer.from(secret, 'hex')).publicKey()
    expect(Buffer.from(key, 'base64').toString('hex')).toBe(expected)
  })

  it('is clamped where it comes in (RFC 7748 section 5)', () => {
    fc.assert(
      fc.property(seed, bytes => {
        const revealed = PrivateKey.fromBytes(bytes).reveal()
        expect((revealed[0] ?? 0) & 7).toBe(0)
        expect((revealed[31] ?? 0) & 0xc0).toBe(0x40)
        expect(revealed.subarray(1, 31)).toEqual(bytes.subarray(1, 31))
      }),
    )
  })

  it('survives the way to text and back', () => {
    fc.assert(
      fc.property(seed, bytes => {
        const key = PrivateKey.fromBytes(bytes)
        expect(PrivateKey.parse(base64(key.reveal())).equals(key)).toBe(true)
      }),
    )
  })

  it('is another one each time it is generated', () => {
    expect(new Set(Array.from({ length: 100 }, () => PrivateKey.generate().publicKey())).size).toBe(100)
  })

  it('equals only itself', () => {
    const key = PrivateKey.generate()
    expect(key.equals(PrivateKey.fromBytes(key.reveal()))).toBe(true)
    expect(key.equals(PrivateKey.generate())).toBe(false)
  })

  it('does not change with the bytes it was made of, nor with those it revealed', () => {
    const bytes = PrivateKey.generate().reveal()
    const key = PrivateKey.fromBytes(bytes)
    const before = base64(key.reveal())
    bytes.fill(1)
    key.reveal().fill(2)
    expect(base64(key.reveal())).toBe(before)
  })

  it.each([
    ['all zero', new Uint8Array(32), 'private key is all zero'],
    ['31 bytes', new Uint8Array(31), 'private key has 31 bytes instead of 32'],
    ['33 bytes', new Uint8Array(33), 'private key has 33 bytes instead of 32'],
  ])('of %s is refused', (_, bytes, message) => {
    expect(() => PrivateKey.fromBytes(bytes)).toThrow(KeyFormatError)
    expect(() => PrivateKey.fromBytes(bytes)).toThrow(message)
  })

  it('is refused as text with anything around it', () => {
    const text = base64(PrivateKey.generate().reveal())
    for (const given of [`${text}\n`, ` ${text}`, text.slice(0, 43), `${text}=`, ''])
      expect(() => PrivateKey.parse(given)).toThrow(KeyFormatError)
  })

  it('is not repeated by the error that refuses it', () => {
    fc.assert(
      fc.property(seed, fc.nat(43), (bytes, at) => {
        const text = base64(bytes)
        const damaged = `${text.slice(0, at)}!${text.slice(at + 1)}`
        let shown = ''
        try {
          PrivateKey.parse(damaged)
        } catch (error) {
          shown = inspect(error, { depth: Infinity, showHidden: true })
        }
        expect(shown).toContain('private key is not standard base64')
        for (let i = 0; i + 8 <= 44; i++) expect(shown).not.toContain(damaged.slice(i, i + 8))
      }),
      { numRuns: 20 },
    )
  })
})

describe('nothing but reveal() shows a private key', () => {
  const key = PrivateKey.generate()
  const held = { peers: [{ key }], map: new Map([['key', key]]) }

  it.each<[string, (value: unknown) => string]>([
    ['String()', value => String(value)],
    ['a template', value => `${value as string}`],
    ['joining', value => ['', value].join('')],
    ['JSON', value => JSON.stringify(value)],
    ['util.inspect', value => inspect(value, { depth: Infinity, showHidden: true })],
    ['console format %s', value => format('%s', value)],
    ['console format %o', value => format('%o', value)],
    ['console format %j', value => format('%j', value)],
    ['structuredClone', value => inspect(structuredClone(value), { depth: Infinity, showHidden: true })],
    ['Object.assign', value => inspect(Object.assign({}, value), { depth: Infinity, showHidden: true })],
    [
      'an error made of it',
      value =>
        inspect(new Error(`cannot use ${value as string}`, { cause: value }), { depth: Infinity, showHidden: true }),
    ],
  ])('%s', (_, show) => {
    const bytes = Buffer.from(key.reveal())
    for (const shown of [show(key), show(held)]) {
      for (const secret of [bytes.toString('base64'), bytes.toString('hex'), bytes.join(','), bytes.join(', ')])
        expect(shown).not.toContain(secret.slice(0, 12))
      expect(shown).not.toContain(bytes.toString('latin1').slice(0, 6))
    }
  })

  it('says PrivateKey(hidden) instead', () => {
    expect([String(key), JSON.stringify(key), inspect(key), `${key as unknown as string}`]).toEqual([
      'PrivateKey(hidden)',
      '"PrivateKey(hidden)"',
      'PrivateKey(hidden)',
      'PrivateKey(hidden)',
    ])
  })

  it('has no property that holds it', () => {
    expect(Reflect.ownKeys(key)).toEqual([])
  })
})
