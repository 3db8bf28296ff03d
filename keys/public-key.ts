import { KeyFormatError } from './errors.ts'

declare const brand: unique symbol

/** A Curve25519 public key as WireGuard writes it: canonical base64 of 32 bytes, 44 characters. Equal keys are equal strings. */
export type PublicKey = string & { readonly [brand]: 'PublicKey' }

const KEY_BYTES = 32

/**
 * u-coordinates of small order (RFC 7748 section 6.1; a handshake with one yields the all-zero secret), as the
 * encodings below 2^255 in little-endian hex. The top bit is masked before comparing, as X25519 does.
 */
const LOW_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
])

/**
 * Strict base64: 32 bytes, canonical padding and trailing bits, no white space; zero and low-order points refused.
 * @throws KeyFormatError, which says what is wrong and never repeats the text
 */
export function parsePublicKey(text: string): PublicKey {
  return publicKeyFromBytes(decodeKey(text, 'public key'))
}

/** @throws KeyFormatError for other than 32 bytes, zero and low-order points */
export function publicKeyFromBytes(bytes: Uint8Array): PublicKey {
  const key = unverifiedPublicKey(bytes)
  const masked = Buffer.from(bytes)
  masked[31] = (masked[31] ?? 0) & 0x7f
  const hex = masked.toString('hex')
  if (LOW_ORDER.has(hex))
    throw new KeyFormatError('public key', /^0+$/.test(hex) ? 'is all zero' : 'is a point of low order')
  return key
}

/**
 * A key that a device already has, whatever it is: also one that nobody should have configured can be named, and removed.
 * @throws KeyFormatError for other than 32 bytes
 */
export function unverifiedPublicKey(bytes: Uint8Array): PublicKey {
  if (bytes.length !== KEY_BYTES) throw new KeyFormatError('public key', `has ${bytes.length} bytes instead of 32`)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64') as PublicKey
}

/** The 32 bytes. */
export const publicKeyBytes = (key: PublicKey): Uint8Array => Uint8Array.from(Buffer.from(key, 'base64'))

/** For logs and tables: enough to tell keys apart, short enough to read. */
export const fingerprint = (key: PublicKey): string => key.slice(0, 8)

/** @throws KeyFormatError */
export function decodeKey(text: string, what: string): Uint8Array {
  if (text.length !== 44) throw new KeyFormatError(what, `has ${text.length} characters instead of 44`)
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) throw new KeyFormatError(what, 'is not standard base64')
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text) throw new KeyFormatError(what, 'is not canonical base64')
  return Uint8Array.from(bytes)
}
