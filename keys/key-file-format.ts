import { PrivateKey } from './private-key.ts'

/** What a key file is bound to, as opaque strings: a cloned disk or a Node made anew must not bring another's key along. */
export interface KeyBinding {
  /** /etc/machine-id of the host; empty where it has none. */
  readonly machineId: string
  /** metadata.uid of the Node. */
  readonly nodeUid: string
}

/** What a key is for: `v4`, `v6`, `v4.next`. The caller's names; lower case letters, digits, dots and dashes, 32 at most. */
export type KeyName = string

export interface KeyFileContents {
  readonly binding: KeyBinding
  readonly keys: ReadonlyMap<KeyName, PrivateKey>
}

/** Why text is not a key file; never repeats the text. */
export class KeyFileFormatError extends Error {
  override readonly name = 'KeyFileFormatError'
}

const VERSION = 1
/** Two families and two generations are four; more is not ours. */
const MAX_KEYS = 16
const NAME = /^[a-z0-9][a-z0-9.-]{0,31}$/
const MAX_BINDING = 256

export function formatKeyFile({ binding, keys }: KeyFileContents): string {
  if (keys.size > MAX_KEYS) throw new RangeError(`${keys.size} keys are more than the ${MAX_KEYS} of a key file`)
  for (const name of keys.keys())
    if (!NAME.test(name)) throw new RangeError(`${JSON.stringify(name)} is not a name for a key`)
  const encoded = Array.from(keys, ([name, key]) => {
    const privateKey = Buffer.from(key.reveal()).toString('base64')
    return [name, { privateKey, publicKey: key.publicKey() }] as const
  })
  const { machineId, nodeUid } = binding
  return `${JSON.stringify({ version: VERSION, machineId, nodeUid, keys: Object.fromEntries(encoded) }, undefined, 2)}\n`
}

/** @throws KeyFileFormatError */
export function parseKeyFile(text: string): KeyFileContents {
  const { version, machineId, nodeUid, keys } = record(parseJson(text), 'the file')
  if (version !== VERSION)
    throw new KeyFileFormatError(typeof version === 'number' ? `version ${version} is not ${VERSION}` : 'no version')
  const parsed = parseKeys(record(keys, 'keys'))
  // Of two members of one name JSON.parse() takes the last: a name with a changed byte would give another's key.
  if (text.split('"privateKey"').length - 1 !== parsed.size) throw new KeyFileFormatError('a key is there twice')
  return {
    binding: { machineId: bounded(machineId, 'machineId', 0), nodeUid: bounded(nodeUid, 'nodeUid', 1) },
    keys: parsed,
  }
}

function parseKeys(encoded: Record<string, unknown>): Map<KeyName, PrivateKey> {
  const entries = Object.entries(encoded)
  if (entries.length > MAX_KEYS) throw new KeyFileFormatError(`more than ${MAX_KEYS} keys`)
  return new Map(
    entries.map(([name, value]) => {
      if (!NAME.test(name)) throw new KeyFileFormatError('a key has a name that Podveil does not give')
      return [name, parseKey(name, record(value, `key ${name}`))]
    }),
  )
}

/** Any 32 bytes are a private key; the public key beside it is what tells a damaged one. */
function parseKey(name: KeyName, { privateKey, publicKey }: Record<string, unknown>): PrivateKey {
  if (typeof privateKey !== 'string') throw new KeyFileFormatError(`key ${name} has no privateKey`)
  let key: PrivateKey
  try {
    key = PrivateKey.parse(privateKey)
  } catch (error) {
    throw new KeyFileFormatError(`key ${name}: ${error instanceof Error ? error.message : 'not a key'}`)
  }
  if (key.publicKey() !== publicKey) throw new KeyFileFormatError(`key ${name} does not belong to its publicKey`)
  return key
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The parser's own message quotes the text, which holds the keys.
    throw new KeyFileFormatError(text === '' ? 'empty' : 'not JSON, or cut short')
  }
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new KeyFileFormatError(`${what} is not an object`)
  return { ...value }
}

function bounded(value: unknown, what: string, least: number): string {
  if (typeof value !== 'string' || value.length < least || value.length > MAX_BINDING)
    throw new KeyFileFormatError(`${what} is not a string of ${least} to ${MAX_BINDING} characters`)
  return value
}
