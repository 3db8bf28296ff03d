import { execFileSync } from 'node:child_process'
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { KeyFileError } from '#keys/errors.ts'
import { KeyFile, type LoadedKeys } from '#keys/key-file.ts'
import { PrivateKey } from '#keys/private-key.ts'

const BINDING = { machineId: 'b08dfa6083e7567a1921a715000001fb', nodeUid: '6f1c9a3e-5c1b-4f6e-9d39-1f6f2c3f1b11' }

let directory: string
let path: string
let file: KeyFile

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'podveil-keys-'))
  path = join(directory, 'keys.json')
  file = new KeyFile(path, BINDING)
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

/** Saves a new key for each name. */
async function saveNew(...names: string[]): Promise<Map<string, PrivateKey>> {
  const keys = new Map(names.map(name => [name, PrivateKey.generate()]))
  await file.save(keys)
  return keys
}

/** What is there to be seen whenever something is made durable. */
async function atEachSync<Seen>(look: () => Promise<Seen>, action: () => Promise<unknown>): Promise<Seen[]> {
  const seen: Seen[] = []
  const handle = await open(directory)
  await handle.close()
  const sync = vi.spyOn(Object.getPrototypeOf(handle) as typeof handle, 'sync').mockImplementation(async () => {
    seen.push(await look())
  })
  try {
    await action()
  } finally {
    sync.mockRestore()
  }
  return seen
}

const publicKeys = (keys: ReadonlyMap<string, PrivateKey>) => [...keys].map(([name, key]) => [name, key.publicKey()])

async function refusal(action: Promise<unknown>): Promise<KeyFileError> {
  const error = await action.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof KeyFileError)) throw new Error(`not refused with a KeyFileError: ${String(error)}`)
  expect(error.message.startsWith(`${path}: `)).toBe(true)
  expect(error.message).not.toContain('\n')
  return error
}

describe('a key file', () => {
  it('is absent at first, and gives the same keys at the next start', async () => {
    expect(await file.load()).toEqual({ kind: 'absent' })
    const saved = await saveNew('v4', 'v6')
    const loaded = await new KeyFile(path, BINDING).load()
    expect(loaded.kind === 'loaded' && publicKeys(loaded.keys)).toEqual(publicKeys(saved))
  })

  it('forgets a generation that is not saved again', async () => {
    const next = (await saveNew('v4', 'v4.next')).get('v4.next')
    if (!next) throw new Error('no key')
    await file.save(new Map([['v4', next]]))
    const loaded = await file.load()
    expect(loaded.kind === 'loaded' && publicKeys(loaded.keys)).toEqual([['v4', next.publicKey()]])
  })

  it('is 0600 in a directory of 0700, whatever the umask', async () => {
    const nested = new KeyFile(join(directory, 'state', 'deep', 'keys.json'), BINDING)
    const umask = process.umask(0)
    try {
      await nested.save(new Map([['v4', PrivateKey.generate()]]))
    } finally {
      process.umask(umask)
    }
    expect((await stat(join(directory, 'state', 'deep', 'keys.json'))).mode & 0o7777).toBe(0o600)
    expect((await stat(join(directory, 'state', 'deep'))).mode & 0o7777).toBe(0o700)
  })

  it('is replaced, not rewritten: who has the old one open keeps the old one', async () => {
    await saveNew('v4')
    const before = await stat(path)
    await file.save(new Map([['v4', PrivateKey.generate()]]))
    expect((await stat(path)).ino).not.toBe(before.ino)
    expect(await readdir(directory)).toEqual(['keys.json'])
  })

  it('is on disk before it has its name, and the name as well before the keys are used', async () => {
    const keys = await saveNew('v4')
    const old = await readFile(path, 'utf8')
    const look = async () => [(await readdir(directory)).length, (await readFile(path, 'utf8')) === old]
    const seen = await atEachSync(look, () => file.save(new Map([...keys, ['v6', PrivateKey.generate()]])))
    expect(seen).toEqual([
      [2, true],
      [1, false],
    ])
  })

  it('takes away what a crash left half written, and nothing else', async () => {
    await writeFile(join(directory, '.keys.json.tmp-0123456789abcdef'), 'half', { mode: 0o600 })
    await writeFile(join(directory, 'snapshot.json'), '{}', { mode: 0o600 })
    await saveNew('v4')
    expect((await readdir(directory)).sort()).toEqual(['keys.json', 'snapshot.json'])
  })

  it('leaves nothing behind when it cannot be put in place', async () => {
    await mkdir(join(path, 'in-the-way'), { recursive: true })
    await refusal(file.save(new Map()))
    expect(await readdir(directory)).toEqual(['keys.json'])
  })
})

describe('a key file of a machine without an id', () => {
  it('gives the same keys at the next start, and changes them', async () => {
    const open = () => new KeyFile(path, { ...BINDING, machineId: '' })
    const keys = new Map([['v4', PrivateKey.generate()]])
    await open().save(keys)
    expect(await open().load()).toMatchObject({ kind: 'loaded' })
    keys.set('v4.next', PrivateKey.generate())
    await open().save(keys)
    const loaded = await open().load()
    expect(loaded.kind === 'loaded' && publicKeys(loaded.keys)).toEqual(publicKeys(keys))
  })

  it('is another node’s once the machine has one', async () => {
    await new KeyFile(path, { ...BINDING, machineId: '' }).save(new Map([['v4', PrivateKey.generate()]]))
    expect(await file.load()).toEqual({ kind: 'foreign', differs: 'machine' })
  })
})

describe('a key file that is removed', () => {
  it('is gone, with what a crash left half written, and nothing else is', async () => {
    await saveNew('v4')
    await writeFile(join(directory, '.keys.json.tmp-0123456789abcdef'), 'half', { mode: 0o600 })
    await writeFile(join(directory, 'snapshot.json'), '{}', { mode: 0o600 })
    expect(await file.remove()).toBe(true)
    expect(await readdir(directory)).toEqual(['snapshot.json'])
    expect(await file.load()).toEqual({ kind: 'absent' })
    expect(await file.remove()).toBe(false)
  })

  it('is gone for good before anybody is told', async () => {
    await saveNew('v4')
    expect(
      await atEachSync(
        () => readdir(directory),
        () => file.remove(),
      ),
    ).toEqual([[]])
  })

  it('is gone though it is another node’s', async () => {
    await new KeyFile(path, { ...BINDING, machineId: 'another' }).save(new Map([['v4', PrivateKey.generate()]]))
    expect(await file.remove()).toBe(true)
    expect(await readdir(directory)).toEqual([])
  })
})

describe('a key file of another node', () => {
  it.each([
    ['a cloned disk', { ...BINDING, machineId: 'another' }, 'machine'],
    ['a Node made anew', { ...BINDING, nodeUid: 'another' }, 'node'],
    ['a backup from elsewhere', { machineId: 'another', nodeUid: 'another' }, 'both'],
  ])('does not give its keys away: %s', async (_, binding, differs) => {
    await new KeyFile(path, binding).save(new Map([['v4', PrivateKey.generate()]]))
    expect(await file.load()).toEqual({ kind: 'foreign', differs })
    await saveNew('v4')
    expect((await file.load()).kind).toBe('loaded')
  })
})

describe('a key file is refused, and left as it is, when it', () => {
  const key = PrivateKey.fromBytes(Buffer.alloc(32, 9))
  const privateKey = Buffer.from(key.reveal()).toString('base64')
  const entry = { privateKey, publicKey: key.publicKey() }
  const good = (keys: object = { v4: entry }): string => JSON.stringify({ version: 1, ...BINDING, keys })

  it.each<[string, string, string]>([
    ['is empty', '', 'empty'],
    ['is cut short', good().slice(0, -20), 'not JSON, or cut short'],
    ['is not JSON', 'PrivateKey = abc', 'not JSON, or cut short'],
    ['is another JSON', '[1, 2]', 'the file is not an object'],
    ['has no version', '{}', 'no version'],
    ['is of a later version', good().replace('"version":1', '"version":2'), 'version 2 is not 1'],
    ['has no binding', '{"version":1,"keys":{}}', 'machineId is not a string of 0 to 256 characters'],
    ['has no keys', JSON.stringify({ version: 1, ...BINDING }), 'keys is not an object'],
    ['has a key that is not an object', good({ v4: privateKey }), 'key v4 is not an object'],
    ['has a key that is not text', good({ v4: { privateKey: 7 } }), 'key v4 has no privateKey'],
    [
      'has a key that is too short',
      good({ v4: { ...entry, privateKey: 'AAAA' } }),
      'key v4: private key has 4 characters instead of 44',
    ],
    [
      'has a key that is zero',
      good({ v4: { ...entry, privateKey: Buffer.alloc(32).toString('base64') } }),
      'key v4: private key is all zero',
    ],
    [
      'has a key with a changed bit',
      good({ v4: { ...entry, publicKey: PrivateKey.generate().publicKey() } }),
      'key v4 does not belong to its publicKey',
    ],
    ['has a name that is not ours', good({ '../v4': 'AAAA' }), 'a key has a name that Podveil does not give'],
    [
      'has too many keys',
      good(Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, '']))),
      'more than 16 keys',
    ],
    ['is too long', `${good()}${' '.repeat(20_000)}`, 'bytes long'],
  ])('%s', async (_, text, message) => {
    await writeFile(path, text, { mode: 0o600 })
    const error = await refusal(file.load())
    expect(error.fault).toBe('damaged')
    expect(error.message).toContain(message)
    expect(error.message).toContain('restore it from a backup, or delete it')
    await refusal(file.save(new Map([['v4', PrivateKey.generate()]])))
    await refusal(file.remove())
    expect(await readFile(path, 'utf8')).toBe(text)
  })

  it.each([0o640, 0o604, 0o660, 0o666, 0o610])('has mode %o', async mode => {
    await writeFile(path, good(), { mode: 0o600 })
    await chmod(path, mode)
    const error = await refusal(file.load())
    expect(error.fault).toBe('insecure')
    expect(error.message).toContain(`(mode 0${mode.toString(8)}): run "chmod 0600 ${path}"`)
  })

  it('is a symbolic link', async () => {
    await writeFile(join(directory, 'elsewhere'), good(), { mode: 0o600 })
    await symlink(join(directory, 'elsewhere'), path)
    const error = await refusal(file.load())
    expect(error.fault).toBe('insecure')
    expect(error.message).toContain('is a symbolic link')
    await refusal(file.save(new Map()))
  })

  it('is a directory', async () => {
    await mkdir(path)
    expect((await refusal(file.load())).message).toContain('not a regular file')
  })

  it('is a FIFO, without waiting for a writer', async () => {
    execFileSync('mkfifo', ['-m', '0600', path])
    expect((await refusal(file.load())).message).toContain('not a regular file')
  })

  it('is in a directory that others can write to', async () => {
    await saveNew('v4')
    await chmod(directory, 0o770)
    const error = await refusal(file.load())
    expect(error.fault).toBe('insecure')
    expect(error.message).toContain(`run "chmod 0700 ${directory}"`)
  })

  it.skipIf(process.geteuid?.() !== 0)('belongs to another user (needs root)', async () => {
    await saveNew('v4')
    await chown(path, 12345, 0)
    expect((await refusal(file.load())).message).toContain('belongs to uid 12345: run "chown 0 ')
    await chown(path, 0, 0)
    await chown(directory, 12345, 0)
    expect((await refusal(file.load())).message).toContain('in a directory that belongs to uid 12345')
  })

  it('is under something that is not a directory', async () => {
    await writeFile(join(directory, 'file'), '')
    path = join(directory, 'file', 'keys.json')
    const error = await refusal(new KeyFile(path, BINDING).load())
    expect(error.fault).toBe('inaccessible')
    expect(error.message).toContain('cannot read it (ENOTDIR)')
  })
})

it('a name with a changed byte, which makes one key pass for another, is refused', async () => {
  await saveNew('v4', 'v6')
  const text = await readFile(path, 'utf8')
  await writeFile(path, text.replace('"v6"', '"v4"'), { mode: 0o600 })
  expect((await refusal(file.load())).message).toContain('a key is there twice')
})

it('no cut and no changed byte of a key file gives a wrong key or shows a right one', async () => {
  const keys = await saveNew('v4', 'v6')
  const text = await readFile(path)
  const secret = Buffer.from(keys.get('v4')?.reveal() ?? []).toString('base64')
  await fc.assert(
    fc.asyncProperty(fc.nat(text.length - 1), fc.nat(255), fc.boolean(), async (at, byte, cut) => {
      const damaged = Buffer.from(text)
      damaged[at] = byte
      await writeFile(path, damaged, { mode: 0o600 })
      if (cut) await truncate(path, at)
      const outcome = await file.load().catch((error: unknown) => error)
      expect(inspect(outcome, { depth: Infinity, showHidden: true })).not.toContain(secret.slice(0, 10))
      if (outcome instanceof Error) {
        expect(outcome).toBeInstanceOf(KeyFileError)
        return
      }
      const loaded = outcome as LoadedKeys
      expect(loaded.kind).not.toBe('absent')
      if (loaded.kind !== 'loaded') return
      // A changed name is a key that nobody asks for; a key under its own name is the right one.
      for (const [name, key] of loaded.keys) expect(keys.get(name)?.equals(key)).not.toBe(false)
    }),
    { numRuns: 300 },
  )
})
