import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { DeviceFile } from '#src/agent/device-file.ts'
import { Keyring } from '#src/agent/keyring.ts'

const directories: string[] = []
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})

function stateDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'podveil-keyring-'))
  directories.push(directory)
  return directory
}

const open = (directory: string) => new Keyring(directory, 'machine', 'uid', pino({ level: 'silent' }))

describe('a keyring', () => {
  test('makes nothing before it is asked to', async () => {
    expect(await open(stateDirectory()).keys(false)).toEqual({ 4: undefined, 6: undefined })
  })

  test('has the next key beside the present one until it is promoted, across a restart of the agent', async () => {
    const directory = stateDirectory()
    const keyring = open(directory)
    const before = (await keyring.keys(true))[4]
    await keyring.prepare(4)
    const restarted = open(directory)
    const prepared = (await restarted.keys(false))[4]
    expect(prepared?.current.publicKey()).toBe(before?.current.publicKey())
    expect(prepared?.next?.publicKey()).toBe((await keyring.keys(false))[4]?.next?.publicKey())
    await restarted.promote(4)
    const after = (await open(directory).keys(false))[4]
    expect(after?.current.publicKey()).toBe(prepared?.next?.publicKey())
    expect(after?.next).toBeUndefined()
  })

  test('keeps nothing of a key that was replaced, and leaves the other family alone', async () => {
    const directory = stateDirectory()
    const keyring = open(directory)
    const before = await keyring.keys(true)
    await keyring.prepare(4)
    await keyring.promote(4)
    const text = readFileSync(join(directory, 'keys.json'), 'utf8')
    expect(text).not.toContain(before[4]?.current.publicKey())
    expect((await keyring.keys(false))[6]?.current.publicKey()).toBe(before[6]?.current.publicKey())
  })
})

describe('what is remembered of the devices', () => {
  const held = { name: 'wg-pods', listenPort: 51820, publicKey: 'k', keySince: 1 }

  test('is there after a restart, for each family', async () => {
    const directory = stateDirectory()
    await new DeviceFile(directory).hold(4, held)
    await new DeviceFile(directory).hold(6, { ...held, name: 'wg-pods6' })
    const restarted = new DeviceFile(directory)
    expect([await restarted.held(4), await restarted.held(6)]).toEqual([held, { ...held, name: 'wg-pods6' }])
  })

  test.each(['', '{', 'null', '{"4":[]}', '{"4":{"name":"wg0","listenPort":"1","publicKey":"k","keySince":1}}'])(
    'is nothing where the file says %j',
    async text => {
      const directory = stateDirectory()
      writeFileSync(join(directory, 'devices.json'), text)
      expect(await new DeviceFile(directory).held(4)).toBeUndefined()
    },
  )
})
