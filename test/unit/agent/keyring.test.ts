import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { KeyFileError } from '#keys/errors.ts'
import { PrivateKey } from '#keys/private-key.ts'
import { DeviceFile } from '#src/agent/device-file.ts'
import { Keyring } from '#src/agent/keyring.ts'
import type { KeyStorage } from '#src/mesh/key-storage.ts'
import type { Family } from '#wg/ip.ts'

const directories: string[] = []
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})

/** What outlives an agent: its state directory, and the private keys of the devices, which no reboot leaves. */
class Machine {
  readonly stateDir = mkdtempSync(join(tmpdir(), 'podveil-keyring-'))
  devices: readonly PrivateKey[] = []
  /** Times that the devices were asked. */
  asked = 0
  readonly said: string[] = []

  constructor() {
    directories.push(this.stateDir)
  }

  /** An agent that starts. */
  async open(storage: KeyStorage = 'disk', nodeUid = 'uid'): Promise<Keyring> {
    const keyring = new Keyring({
      stateDir: this.stateDir,
      binding: { machineId: 'machine', nodeUid },
      keysOfDevices: async () => {
        this.asked++
        return this.devices
      },
      log: pino({ base: null }, { write: line => this.said.push(line) }),
    })
    await keyring.open(storage)
    return keyring
  }

  /** The same with keys, which the main devices have been given. */
  async withKeys(storage: KeyStorage, families: readonly Family[] = [4]): Promise<Keyring> {
    const keyring = await this.open(storage)
    await keyring.create(families)
    this.devices = families.map(family => currentOf(keyring, family))
    return keyring
  }

  get files(): string[] {
    return readdirSync(this.stateDir).toSorted()
  }

  /** The private key is in no file, and in nothing that was said. */
  expectNowhere(key: PrivateKey): void {
    const bytes = Buffer.from(key.reveal())
    const kept = this.files.map(name => readFileSync(join(this.stateDir, name)))
    for (const where of [...kept, Buffer.from(this.said.join(''))])
      for (const form of [bytes, bytes.toString('base64'), bytes.toString('hex')])
        expect(where.includes(form)).toBe(false)
  }
}

function currentOf(keyring: Keyring, family: Family = 4): PrivateKey {
  const key = keyring.keys[family]?.current
  if (!key) throw new Error('no key')
  return key
}

function nextOf(keyring: Keyring): PrivateKey {
  const key = keyring.keys[4]?.next
  if (!key) throw new Error('no next key')
  return key
}

const publicKeys = (keyring: Keyring) => [keyring.keys[4]?.current.publicKey(), keyring.keys[4]?.next?.publicKey()]

describe('a keyring', () => {
  test('makes nothing before it is asked to, and of no family that it is not asked for', async () => {
    const keyring = await new Machine().open()
    expect(keyring.keys).toEqual({ 4: undefined, 6: undefined })
    await keyring.create([6])
    expect(keyring.keys[4]).toBeUndefined()
    const before = currentOf(keyring, 6)
    await keyring.create([4, 6])
    expect(currentOf(keyring, 6)).toBe(before)
    expect(currentOf(keyring, 4).equals(before)).toBe(false)
  })

  test('has the next key beside the present one until it is promoted, across a restart of the agent', async () => {
    const machine = new Machine()
    const keyring = await machine.withKeys('disk')
    await keyring.prepare(4)
    const restarted = await machine.open()
    expect(publicKeys(restarted)).toEqual(publicKeys(keyring))
    await restarted.promote(4)
    expect(publicKeys(await machine.open())).toEqual([nextOf(keyring).publicKey(), undefined])
  })

  test('keeps nothing of a key that was replaced, and leaves the other family alone', async () => {
    const machine = new Machine()
    const keyring = await machine.withKeys('disk', [4, 6])
    const [before, other] = [currentOf(keyring, 4), currentOf(keyring, 6)]
    await keyring.prepare(4)
    await keyring.promote(4)
    expect(readFileSync(join(machine.stateDir, 'keys.json'), 'utf8')).not.toContain(before.publicKey())
    machine.expectNowhere(before)
    expect(currentOf(keyring, 6)).toBe(other)
  })

  test('on disk never asks the devices, whatever they have', async () => {
    const machine = new Machine()
    await machine.withKeys('disk')
    rmSync(join(machine.stateDir, 'keys.json'))
    // Whoever deletes the file has asked for another key.
    expect((await machine.open('disk')).keys[4]).toBeUndefined()
    expect(machine.asked).toBe(0)
  })

  test('makes new keys where those on disk are another Node’s, and says so', async () => {
    const machine = new Machine()
    const before = currentOf(await machine.withKeys('disk'))
    const keyring = await machine.open('disk', 'another')
    await keyring.create([4])
    expect(currentOf(keyring).equals(before)).toBe(false)
    expect(machine.said.join('')).toContain('belong to another machine or Node: made new ones')
    machine.expectNowhere(before)
  })
})

describe('a keyring in memory', () => {
  test('writes nothing of a private key, which the next agent finds on the device; on disk it would be in the file', async () => {
    const machine = new Machine()
    const keyring = await machine.withKeys('memory')
    await keyring.leaveDisk()
    machine.expectNowhere(currentOf(keyring))
    expect(publicKeys(await machine.open('memory'))).toEqual(publicKeys(keyring))

    const onDisk = new Machine()
    const kept = currentOf(await onDisk.withKeys('disk'))
    expect(() => onDisk.expectNowhere(kept)).toThrow()
  })

  test('finds nothing after a reboot, and makes another key', async () => {
    const machine = new Machine()
    const before = currentOf(await machine.withKeys('memory'))
    machine.devices = []
    const rebooted = await machine.open('memory')
    expect(rebooted.keys[4]).toBeUndefined()
    await rebooted.create([4])
    expect(currentOf(rebooted).equals(before)).toBe(false)
    machine.expectNowhere(currentOf(rebooted))
  })

  test('takes nothing from a device that it has not made itself, and asks none where it has made none', async () => {
    const machine = new Machine()
    machine.devices = [PrivateKey.generate()]
    const keyring = await machine.open('memory')
    expect(machine.asked).toBe(0)
    expect(keyring.keys[4]).toBeUndefined()
    await keyring.create([4])
    expect((await machine.open('memory')).keys[4]).toBeUndefined()
  })

  test('knows that there was a key, so that what is left in the kernel is taken away', async () => {
    const machine = new Machine()
    const keyring = await machine.open('memory')
    expect(await keyring.open('memory')).toBe(false)
    await machine.withKeys('memory')
    machine.devices = []
    const restarted = await machine.open('memory')
    expect(restarted.keys[4]).toBeUndefined()
    expect(await restarted.open('memory')).toBe(true)
  })

  test('keeps the key of a Node made anew: the device is that of this machine', async () => {
    const machine = new Machine()
    const keyring = await machine.withKeys('memory')
    expect(publicKeys(await machine.open('memory', 'another'))).toEqual(publicKeys(keyring))
  })

  describe('in a rotation whose agent dies', () => {
    test('before a device has the next key, that is forgotten: nobody has heard of it', async () => {
      const machine = new Machine()
      const keyring = await machine.withKeys('memory')
      await keyring.prepare(4)
      expect(publicKeys(await machine.open('memory'))).toEqual([currentOf(keyring).publicKey(), undefined])
    })

    test('while the spare device has the next key, goes on with it', async () => {
      const machine = new Machine()
      const keyring = await machine.withKeys('memory')
      await keyring.prepare(4)
      machine.devices = [currentOf(keyring), nextOf(keyring)]
      const restarted = await machine.open('memory')
      expect(publicKeys(restarted)).toEqual(publicKeys(keyring))
      machine.expectNowhere(nextOf(restarted))
    })

    test('when the next key is the present one, and the main device has not got it yet, takes it from the spare one', async () => {
      const machine = new Machine()
      const keyring = await machine.withKeys('memory')
      await keyring.prepare(4)
      const [before, next] = [currentOf(keyring), nextOf(keyring)]
      machine.devices = [before, next]
      await keyring.promote(4)
      expect(publicKeys(await machine.open('memory'))).toEqual([next.publicKey(), undefined])
    })

    test('together with its main device, goes on with the key of the spare one', async () => {
      const machine = new Machine()
      const keyring = await machine.withKeys('memory')
      await keyring.prepare(4)
      machine.devices = [nextOf(keyring)]
      expect(publicKeys(await machine.open('memory'))).toEqual([nextOf(keyring).publicKey(), undefined])
    })
  })
})

describe('keys that move', () => {
  test('to memory leave the disk when the devices are known to have them, and not before', async () => {
    const machine = new Machine()
    const keyring = await machine.withKeys('disk')
    await keyring.open('memory')
    expect(machine.files).toContain('keys.json')
    // What is made meanwhile is not written there.
    await keyring.prepare(4)
    machine.expectNowhere(nextOf(keyring))
    await keyring.leaveDisk()
    expect(machine.files).not.toContain('keys.json')
    machine.expectNowhere(currentOf(keyring))
    machine.devices = [currentOf(keyring), nextOf(keyring)]
    expect(publicKeys(await machine.open('memory'))).toEqual(publicKeys(keyring))
    expect(machine.said.filter(line => line.includes('keys-off-disk'))).toHaveLength(1)
  })

  test('to disk are written at once, and read from there', async () => {
    const machine = new Machine()
    const keyring = await machine.withKeys('memory')
    await keyring.open('disk')
    expect(machine.files).toEqual(['keys.json'])
    machine.devices = []
    expect(publicKeys(await machine.open('disk'))).toEqual(publicKeys(keyring))
    await keyring.leaveDisk()
    expect(machine.files).toEqual(['keys.json'])
  })

  test('while no agent runs are where they are asked for after its start', async () => {
    const machine = new Machine()
    const keyring = await machine.withKeys('memory')
    const onDisk = await machine.open('disk')
    expect(publicKeys(onDisk)).toEqual(publicKeys(keyring))
    expect(machine.files).toEqual(['keys.json'])
    const inMemory = await machine.open('memory')
    await inMemory.leaveDisk()
    expect(publicKeys(inMemory)).toEqual(publicKeys(keyring))
    machine.expectNowhere(currentOf(keyring))
  })

  test('do not move on from a file that is damaged: the person who finds out why decides', async () => {
    const machine = new Machine()
    await machine.withKeys('disk')
    writeFileSync(join(machine.stateDir, 'keys.json'), 'half')
    await expect(machine.open('memory')).rejects.toBeInstanceOf(KeyFileError)
    expect(readFileSync(join(machine.stateDir, 'keys.json'), 'utf8')).toBe('half')
  })

  test('stay where they are when they cannot be written, and are tried again', async () => {
    const machine = new Machine()
    const keyring = await machine.withKeys('memory')
    // In the place of the file.
    const inTheWay = join(machine.stateDir, 'keys.json')
    writeFileSync(inTheWay, 'half')
    await expect(keyring.open('disk')).rejects.toBeInstanceOf(KeyFileError)
    rmSync(inTheWay)
    expect(publicKeys(await machine.open('memory'))).toEqual(publicKeys(keyring))
    await keyring.open('disk')
    expect(machine.files).toEqual(['keys.json'])
  })

  test('that an agent of an older version has replaced on disk are those on disk', async () => {
    const machine = new Machine()
    await machine.withKeys('memory')
    const older = new Machine()
    const replaced = await older.withKeys('disk')
    writeFileSync(join(machine.stateDir, 'keys.json'), readFileSync(join(older.stateDir, 'keys.json')), { mode: 0o600 })
    machine.devices = [currentOf(replaced)]
    expect(publicKeys(await machine.open('memory'))).toEqual(publicKeys(replaced))
  })
})

type Step = 'rotate' | 'give' | 'promote' | 'restart' | 'disk' | 'memory'

/**
 * A node as the agent has it: the spare device is given the next key before anybody hears of it, the main device changes
 * when it is promoted, and the file goes when both have what they are to have.
 */
async function live(machine: Machine, steps: readonly Step[]): Promise<void> {
  let storage: KeyStorage = 'memory'
  let keyring = await machine.withKeys(storage)
  let heard = currentOf(keyring)
  for (const step of steps) {
    if (step === 'rotate' && !keyring.keys[4]?.next) await keyring.prepare(4)
    if (step === 'give' && keyring.keys[4]?.next) machine.devices = [currentOf(keyring), nextOf(keyring)]
    if (step === 'promote' && keyring.keys[4]?.next && machine.devices.includes(nextOf(keyring))) {
      heard = nextOf(keyring)
      await keyring.promote(4)
    }
    if (step === 'disk' || step === 'memory') {
      storage = step
      await keyring.open(storage)
    }
    if (step === 'restart') keyring = await machine.open(storage)
    else if (machine.devices.some(key => key.equals(currentOf(keyring)))) await keyring.leaveDisk()
    expect(currentOf(keyring).equals(heard), `after ${step} of ${steps.join(', ')}`).toBe(true)
    if (storage === 'memory') machine.expectNowhere(heard)
  }
}

test('whatever moves, is rotated or dies in whatever order: a key that somebody has heard of is never lost', async () => {
  const step = fc.constantFrom<Step>('rotate', 'give', 'promote', 'restart', 'disk', 'memory')
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), steps => live(new Machine(), steps)),
    { numRuns: 100 },
  )
})

describe('what is remembered of the devices', () => {
  const held = { name: 'wg-pods', listenPort: 51820, publicKey: 'k', keySince: 1 }
  const stateDirectory = () => new Machine().stateDir

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
