import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KeyFormatError } from '#keys/errors.ts'
import { PrivateKey } from '#keys/private-key.ts'
import {
  fingerprint,
  parsePublicKey,
  publicKeyBytes,
  publicKeyFromBytes,
  unverifiedPublicKey,
} from '#keys/public-key.ts'

const VALID = 'hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo='
const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64')

/** The messages are for people; no message may repeat what might be a key pasted into the wrong field. */
function refusal(text: string): string {
  try {
    parsePublicKey(text)
  } catch (error) {
    expect(error).toBeInstanceOf(KeyFormatError)
    const { message } = error as KeyFormatError
    if (text.length >= 8) expect(message).not.toContain(text.slice(0, 8))
    return message
  }
  throw new Error(`${JSON.stringify(text)} was accepted`)
}

describe('a public key', () => {
  it('survives the way to bytes and back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), seed => {
        fc.pre(seed.some(byte => byte !== 0))
        const key = PrivateKey.fromBytes(seed).publicKey()
        expect(parsePublicKey(key)).toBe(key)
        expect(publicKeyFromBytes(publicKeyBytes(key))).toBe(key)
      }),
    )
  })

  it.each([
    ['empty', '', 'public key has 0 characters instead of 44'],
    ['31 bytes', Buffer.alloc(31, 7).toString('base64'), 'public key is not standard base64'],
    ['33 bytes', Buffer.alloc(33, 7).toString('base64'), 'public key is not standard base64'],
    ['a newline after it', `${VALID}\n`, 'public key has 45 characters instead of 44'],
    ['a space in place of a character', ` ${VALID.slice(1)}`, 'public key is not standard base64'],
    ['the URL alphabet', VALID.replace('/', '_'), 'public key is not standard base64'],
    ['no padding', VALID.slice(0, 43), 'public key has 43 characters instead of 44'],
    ['trailing bits that are not zero', `${VALID.slice(0, 42)}p=`, 'public key is not canonical base64'],
    ['padding in the middle', `${VALID.slice(0, 42)}==`, 'public key is not standard base64'],
    ['all zero', base64('00'.repeat(32)), 'public key is all zero'],
  ])('with %s is refused', (_, text, message) => {
    expect(refusal(text)).toBe(message)
  })

  // The seven encodings of small-order points of https://cr.yp.to/ecdh.html#validate that are below 2^255.
  const lowOrder = [
    '0100000000000000000000000000000000000000000000000000000000000000',
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  ]
  it.each(lowOrder)('of low order (%s) is refused, with the top bit set as well', hex => {
    expect(refusal(base64(hex))).toBe('public key is a point of low order')
    const topBit = Buffer.from(hex, 'hex')
    topBit.writeUInt8(topBit.readUInt8(31) | 0x80, 31)
    expect(refusal(topBit.toString('base64'))).toBe('public key is a point of low order')
  })

  it('that is zero but for the top bit is refused', () => {
    expect(refusal(base64(`${'00'.repeat(31)}80`))).toBe('public key is all zero')
  })

  it('that a device has can be named even when nobody should have configured it', () => {
    expect(unverifiedPublicKey(new Uint8Array(32))).toBe(base64('00'.repeat(32)))
    expect(() => unverifiedPublicKey(new Uint8Array(31))).toThrow(KeyFormatError)
  })

  it('has a short form for logs', () => {
    expect(fingerprint(parsePublicKey(VALID))).toBe('hSDwCYkw')
  })

  it('is never taken from arbitrary text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.base64String({ minLength: 40, maxLength: 48 })), text => {
        try {
          expect(Buffer.from(parsePublicKey(text), 'base64').toString('base64')).toBe(text)
        } catch (error) {
          expect(error).toBeInstanceOf(KeyFormatError)
        }
      }),
    )
  })
})
