/** What takes the place of a secret. */
export const REDACTED = '(redacted)'

// What begins a line of a text that is within JSON has `\n` before it, whose letter is no part of it.

/** A WireGuard key, private or public, in base64 as wg(8) prints it. Not a part of a longer text in base64. */
const KEY = /(?<=^|[^A-Za-z0-9+/]|\\[nrt])[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=(?![A-Za-z0-9+/=])/g
/** The same in hexadecimal, as the userspace protocol has it. */
const HEX_KEY = /(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])/g
/** A token of a ServiceAccount or of OIDC. */
const TOKEN = /(?<=^|\W|\\[nrt])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)?/g
const PEM = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g
const BEARER = /(?<=^|\W|\\[nrt])([Bb]earer|[Bb]asic)\s+[A-Za-z0-9._~+/=-]{8,}/g
const PASSWORD_IN_URL = /(\b[a-z][a-z0-9+.-]*:\/\/[^/\s:@]*):[^/\s@]+@/g

/**
 * Takes out of a text whatever may be a secret. Of keys only those stay that are known to be public: what is not known is
 * not trusted to be.
 * @param publicKeys in base64
 */
export function redact(text: string, publicKeys: ReadonlySet<string>): string {
  const hex = new Set([...publicKeys].map(key => Buffer.from(key, 'base64').toString('hex')))
  return text
    .replaceAll(PEM, REDACTED)
    .replaceAll(TOKEN, REDACTED)
    .replaceAll(BEARER, `$1 ${REDACTED}`)
    .replaceAll(PASSWORD_IN_URL, `$1:${REDACTED}@`)
    .replaceAll(KEY, key => (publicKeys.has(key) ? key : REDACTED))
    .replaceAll(HEX_KEY, key => (hex.has(key.toLowerCase()) ? key : REDACTED))
}
