import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { REDACTED, redact } from '#src/bundle/redact.ts'

const BYTES = new Uint8Array(32).fill(9)
const PUBLIC = PrivateKey.fromBytes(BYTES).publicKey()
const known = new Set<string>([PUBLIC])

/** As a file that somebody has put into an annotation. */
const inJson = (text: string) => JSON.stringify({ note: `first\n${text}\nlast` })

test('public keys that are known stay', () => {
  const text = `peer ${PUBLIC} at 10.0.0.1, "${Buffer.from(PUBLIC, 'base64').toString('hex')}"`
  expect(redact(text, known)).toBe(text)
})

test('a key that is not known to be public goes, however it is written', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), bytes => {
      const key = Buffer.from(bytes)
      for (const text of [key.toString('base64'), key.toString('hex'), key.toString('hex').toUpperCase()])
        for (const around of [text, `PrivateKey = ${text}\n`, `"${text}"`, `private_key=${text};`, inJson(text)]) {
          const redacted = redact(around, known)
          expect(redacted).not.toContain(text)
          expect(redacted).toContain(REDACTED)
        }
    }),
  )
})

test.each([
  ['a ServiceAccount token', 'token: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl'],
  ['a header', 'Authorization: Bearer abcdef0123456789'],
  ['a private key of TLS', '-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----'],
  ['a password in a URL', 'https://admin:hunter2@api.example:6443/'],
])('%s goes', (_, text) => {
  for (const around of [text, inJson(text)]) {
    const redacted = redact(around, known)
    expect(redacted).toContain(REDACTED)
    expect(redacted).not.toMatch(/eyJ|abcdef0123456789|MHcCAQEE|hunter2/)
  }
})

test('what is no secret stays as it is', () => {
  const text = 'node-1 10.244.1.0/24 fd00::1 sha256:0123456789abcdef uid 3b1f7c1e-1d7c-4f0e-9b0a-0123456789ab'
  expect(redact(text, known)).toBe(text)
})
