import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import type { PrivateKey } from '#keys/private-key.ts'
import { DeviceFile } from '#src/agent/device-file.ts'
import { Keyring } from '#src/agent/keyring.ts'
import { Renewal } from '#src/agent/renewal.ts'
import type { FamilyConfig } from '#src/mesh/family-view.ts'
import { PODVEIL_DEFAULTS } from '#src/mesh/guard.ts'
import { SPARE_DEVICES } from '#src/mesh/marks.ts'
import type { NodeName } from '#src/mesh/node-record.ts'
import type { DeviceStatus } from '#wg/device/device.ts'

const log = pino({ level: 'silent' })
const SELF = 'node-1' as NodeName
const LATER = 1_000_000

const directories: string[] = []
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})

const config = (listenPort: number): FamilyConfig => ({
  interfaceName: 'wireguard.cali',
  listenPort,
  mtu: 1440,
  persistentKeepalive: 0,
  rulePriority: 99,
  mark: 0x200000,
  tables: { mesh: 1, nodes: 2, device: 3, spare: 4 },
  routeProtocol: 3,
})

/** What a mesh says whose spare device has this key. */
const meshWith = (key: PrivateKey, isCarriedBySpare: boolean) => ({
  isCarriedBySpare,
  devices: [
    {
      name: SPARE_DEVICES[4],
      publicKey: key.publicKey(),
      listenPort: 51822,
      privateKey: key,
      fwmark: 0,
      peers: new Map(),
    } satisfies DeviceStatus,
  ],
})

/** A node with a key made for it that its spare device has not been given, because somebody's traffic goes by that one. */
async function withKeyToCome() {
  const directory = mkdtempSync(join(tmpdir(), 'podveil-renewal-'))
  directories.push(directory)
  const keyring = new Keyring({
    stateDir: directory,
    binding: { machineId: 'machine', nodeUid: 'uid' },
    keysOfDevices: async () => [],
    log,
  })
  await keyring.open('disk')
  await keyring.create([4])
  const current = keyring.keys[4]?.current
  if (!current) throw new Error('a key was made')
  const renewal = new Renewal(4, SELF, new DeviceFile(directory), log)
  await renewal.devices(config(51820), PODVEIL_DEFAULTS, keyring, meshWith(current, false), new Map())
  await keyring.prepare(4)
  const next = keyring.keys[4]?.next
  if (!next) throw new Error('a key was prepared')
  const devices = (port: number, spareKey: PrivateKey, carried: boolean) =>
    renewal.devices(config(port), PODVEIL_DEFAULTS, keyring, meshWith(spareKey, carried), new Map())
  /** All have moved away, and what was on its way has arrived. */
  const change = async (port: number) => {
    for (const now of [0, LATER])
      await renewal.advance({ move: 'away', waitsFor: [] }, true, config(port), keyring, now)
  }
  return { current, next, devices, change }
}

test('a port that changes while others send by the spare device leaves both keys as they are', async () => {
  const { current, devices, change } = await withKeyToCome()
  expect(await devices(51_900, current, true)).toMatchObject({ mainChanges: true })
  await change(51_900)
  const { identities, mainChanges } = await devices(51_900, current, true)
  expect(mainChanges).toBe(false)
  expect(identities.main).toMatchObject({ listenPort: 51_900, privateKey: current })
  expect(identities.spare?.privateKey).toBe(current)
})

test('the key to come is given to the spare device once nobody sends by it, and then to the main one', async () => {
  const { current, next, devices, change } = await withKeyToCome()
  const moving = await devices(51_820, current, false)
  expect(moving.mainChanges).toBe(true)
  expect(moving.identities.main?.privateKey).toBe(current)
  expect(moving.identities.spare?.privateKey).toBe(next)
  await devices(51_820, next, true)
  await change(51_820)
  const { identities, mainChanges } = await devices(51_820, next, true)
  expect(mainChanges).toBe(false)
  expect(identities.main?.privateKey).toBe(next)
  expect(identities.spare?.privateKey).toBe(next)
})
