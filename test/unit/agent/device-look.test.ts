import { expect, test } from 'vitest'
import type { PublicKey } from '#keys/public-key.ts'
import { DeviceLook } from '#src/agent/device-look.ts'
import type { PeerState, PeerStates } from '#src/mesh/peer-machine.ts'
import type { WireGuardDevices } from '#wg/device/device.ts'
import { KernelDevices } from '#wg/device/kernel.ts'
import type { FamilyNet } from '#wg/reconcile/device-writer.ts'
import { FamilyKernel } from '#wg/reconcile/family-kernel.ts'
import { Table } from '#wg/table.ts'
import { KernelModel } from '../wireguard/kernel-model.ts'
import { accepting, encrypting, keyOf, node } from './peers.ts'

const NAME = 'wireguard.cali'
const NAMES = { main: NAME, spare: undefined }
const INPUT = {
  ownership: { family: 4 as const, deviceNames: new Set([NAME]), tables: new Set<number>(), hostTable: undefined },
  names: NAMES,
  encryptsHosts: false,
}

/** A device with so many peers, and what is read of it from its second look on. */
async function device(peers: number) {
  const model = new KernelModel()
  const real = new KernelDevices(model, model, model.family)
  await real.create(NAME)
  const keys = Array.from({ length: peers }, (_, index) => keyOf(index + 2))
  await real.configure(NAME, { peers: keys.map(publicKey => ({ kind: 'set', publicKey })) })
  const read: (readonly PublicKey[] | 'all')[] = []
  const devices: Pick<WireGuardDevices, 'read' | 'readSome'> = {
    read: (name, known) => {
      read.push('all')
      return real.read(name, known)
    },
    readSome: (name, keys) => {
      read.push([...keys])
      return real.readSome(name, keys)
    },
  }
  const net = { link: (name: string) => model.link(name), addresses: async () => [], rules: async () => [] }
  const notes = { wrote: () => {}, degraded: () => {}, foreign: () => {} }
  const kernel = new FamilyKernel(devices as WireGuardDevices, net as unknown as FamilyNet, notes)
  const look = new DeviceLook(kernel)
  const states = Table.from(
    keys.map((_, index): [ReturnType<typeof node>, PeerState] => [node(index + 2), encrypting(index + 2, 0)]),
  )
  let now = 0
  await look.take(INPUT, now)
  read.length = 0
  return {
    look,
    states,
    /** What is read at each pass of so many milliseconds, one whenever it is due. */
    during: async (duration: number) => {
      read.length = 0
      const end = now + duration
      for (;;) {
        look.noteStates({ main: states, spare: NOBODY }, NAMES, now)
        if (look.at > end) return [...read]
        now = look.at
        await look.take(INPUT, now)
      }
    },
  }
}

const NOBODY: PeerStates = new Map()

test('of a mesh where nothing is changing everything is read every ten seconds', async () => {
  const { during } = await device(14)
  expect(await during(30_000)).toEqual(['all', 'all', 'all'])
})

test('while one of fourteen pairs is changing, its peer alone is read twice a second, and all every ten seconds as before', async () => {
  const { during, states } = await device(14)
  states.set(node(7), accepting(7, 0))
  const read = await during(30_000)
  expect(read.filter(one => one === 'all')).toHaveLength(3)
  expect(read.filter(one => one !== 'all')).toEqual(Array(57).fill([keyOf(7)]))
})

test('once it encrypts it is read no more than others', async () => {
  const { during, states } = await device(14)
  states.set(node(7), accepting(7, 0))
  await during(1_000)
  states.set(node(7), encrypting(7, 0))
  expect(new Set(await during(30_000))).toEqual(new Set(['all']))
})

test('while many of them are changing, all are read twice a second', async () => {
  const { during, states } = await device(14)
  for (const index of [2, 3, 4, 5]) states.set(node(index), accepting(index, 0))
  const read = await during(5_000)
  expect(read).toEqual(Array(10).fill('all'))
})

test('a peer that is sent to where its Node was is looked at again soon, and no more once it is not', async () => {
  const { during, look } = await device(14)
  look.noteStrayed('main', [keyOf(9)])
  expect(await during(5_000)).toEqual([[keyOf(9)]])
})
