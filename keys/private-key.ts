import { createPrivateKey, createPublicKey, randomBytes, timingSafeEqual } from 'node:crypto'
import { inspect } from 'node:util'
import { KeyFormatError } from './errors.ts'
import { decodeKey, type PublicKey, publicKeyFromBytes } from './public-key.ts'

const KEY_BYTES = 32
const HIDDEN = 'PrivateKey(hidden)'

/** PrivateKeyInfo of RFC 8410 section 7 up to the key: version 0, id-X25519, an octet string in an octet string. */
const PKCS8_HEADER = Buffer.from('302e020100300506032b656e04220420', 'hex')

/**
 * A Curve25519 private key, clamped (RFC 7748 section 5). Text, JSON, inspection and cloning show no key material: the
 * only ways out are `reveal()` and the public key.
 */
export class PrivateKey {
  readonly #bytes: Uint8Array
  #publicKey: PublicKey | undefined

  private constructor(bytes: Uint8Array) {
    this.#bytes = clamp(bytes)
  }

  static generate(): PrivateKey {
    return new PrivateKey(randomBytes(KEY_BYTES))
  }

  /**
   * Copies and clamps. All zero is refused: to the kernel it means "no key".
   * @throws KeyFormatError
   */
  static fromBytes(bytes: Uint8Array): PrivateKey {
    if (bytes.length !== KEY_BYTES) throw new KeyFormatError('private key', `has ${bytes.length} bytes instead of 32`)
    if (bytes.every(byte => byte === 0)) throw new KeyFormatError('private key', 'is all zero')
    return new PrivateKey(bytes)
  }

  /**
   * Strict base64, as `wg genkey` prints it but without the newline.
   * @throws KeyFormatError, which never repeats the text
   */
  static parse(text: string): PrivateKey {
    return PrivateKey.fromBytes(decodeKey(text, 'private key'))
  }

  publicKey(): PublicKey {
    this.#publicKey ??= derive(this.#bytes)
    return this.#publicKey
  }

  /** A copy of the 32 clamped bytes, for the device and the key file alone. */
  reveal(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }

  /** In constant time. */
  equals(other: PrivateKey): boolean {
    return timingSafeEqual(this.#bytes, other.#bytes)
  }

  toString(): string {
    return HIDDEN
  }

  toJSON(): string {
    return HIDDEN
  }

  [inspect.custom](): string {
    return HIDDEN
  }
}

function clamp(bytes: Uint8Array): Uint8Array {
  const clamped = Uint8Array.from(bytes)
  clamped[0] = (clamped[0] ?? 0) & 0xf8
  clamped[31] = ((clamped[31] ?? 0) & 0x7f) | 0x40
  return clamped
}

/** Node.js has no call for a bare X25519 key, so it goes in as PKCS #8 and its public half comes out as SPKI. */
function derive(bytes: Uint8Array): PublicKey {
  const der = Buffer.concat([PKCS8_HEADER, bytes])
  const spki = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({
    format: 'der',
    type: 'spki',
  })
  der.fill(0)
  return publicKeyFromBytes(spki.subarray(-KEY_BYTES))
}
