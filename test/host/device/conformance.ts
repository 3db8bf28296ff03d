import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import { DeviceError, type DeviceErrorReason, type DeviceStatus, type PeerStatus } from '#wg/device/device.ts'
import { type Cidr, parseAddress, parseCidr } from '#wg/ip.ts'
import { waitUntil } from '#wg/uapi/wait.ts'
import { ModelDevice } from '../../unit/wireguard/model.ts'
import { picture } from '../../unit/wireguard/picture.ts'
import type { Bench } from './bench.ts'
import { changeOf, scenario } from './changes.ts'
import { wgDump } from './wg-dump.ts'

const newKey = (): PublicKey => PrivateKey.generate().publicKey()
const [A, B, C] = ['10.1.0.0/16', '10.2.0.0/16', 'fd00:3::/64'].map(parseCidr) as [Cidr, Cidr, Cidr]

async function present(bench: Bench, name: string): Promise<DeviceStatus> {
  const device = await bench.devices.read(name)
  if (!device) throw new Error(`no ${name}`)
  return device
}

async function peer(bench: Bench, name: string, key: PublicKey): Promise<PeerStatus> {
  const found = (await present(bench, name)).peers.get(key)
  if (!found) throw new Error('no such peer')
  return found
}

async function refusal(action: Promise<unknown>, reason: DeviceErrorReason): Promise<DeviceError> {
  const error = await action.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof DeviceError)) throw new Error(`not a DeviceError: ${String(error)}`)
  expect({ reason: error.reason, message: error.message }).toMatchObject({ reason })
  expect(error.message).not.toContain('\n')
  return error
}

/**
 * What every kind of WireGuardDevices must do: the kernel's, a userspace one's, and the model's that unit tests use.
 * @param open a bench of its own for each case
 * @param runs of each property: real devices take their time
 */
export function deviceConformance(open: () => Promise<Bench>, { runs, many }: { runs: number; many: number }): void {
  /** A bench with one device, made. */
  async function withDevice(use: (bench: Bench, name: string) => Promise<void>): Promise<void> {
    await using bench = await open()
    const name = bench.newName()
    await bench.devices.create(name)
    await use(bench, name)
  }

  test('a new device has no key, no mark and no peers', () =>
    withDevice(async (bench, name) => {
      const device = await present(bench, name)
      expect(device).toMatchObject({ name, privateKey: undefined, publicKey: undefined, fwmark: 0 })
      expect(device.peers.size).toBe(0)
      expect(await bench.hasLink(name)).toBe(true)
    }))

  test('making a device that is there leaves it as it is', () =>
    withDevice(async (bench, name) => {
      await bench.devices.configure(name, { privateKey: PrivateKey.generate(), listenPort: 40_000, fwmark: 7 })
      const before = picture(await present(bench, name))
      await bench.devices.create(name)
      expect(picture(await present(bench, name))).toEqual(before)
    }))

  test('a device that is not there reads as undefined, cannot be configured, and is fine to remove', async () => {
    await using bench = await open()
    const name = bench.newName()
    expect(await bench.devices.read(name)).toBeUndefined()
    expect(await bench.devices.readSome(name, new Set([newKey()]))).toBeUndefined()
    await refusal(bench.devices.configure(name, { fwmark: 1 }), 'no-such-device')
    await bench.devices.remove(name)
  })

  test('what was written is what is read, and what wg shows, through any life of a device', async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async given => {
        await withDevice(async (bench, name) => {
          const model = new ModelDevice()
          for (const step of given.steps) {
            const change = changeOf(given, step, model)
            await bench.devices.configure(name, change)
            const device = await present(bench, name)
            // Without one of ours a device may choose a port; wg must see the same.
            const port = model.apply(change).listenPort || device.listenPort
            const expected = { ...model.picture(), listenPort: port }
            expect(picture(device)).toEqual(expected)
            const asked = new Set([newKey(), ...[...device.peers.keys()].filter((_, place) => place % 2 === 0)])
            const some = await bench.devices.readSome(name, asked)
            const peers = new Map([...device.peers].filter(([key]) => asked.has(key)))
            expect(some?.total).toBe(device.peers.size)
            expect(picture({ ...device, peers: some?.peers ?? new Map() })).toEqual(picture({ ...device, peers }))
            if (bench.real) expect(wgDump(bench.real.wg(['show', name, 'dump']))).toEqual(expected)
          }
        })
      }),
      { numRuns: runs },
    )
  })

  test('a change of peers leaves key, port and mark alone, and a change of the mark leaves key, port and peers', () =>
    withDevice(async (bench, name) => {
      const privateKey = PrivateKey.generate()
      const key = newKey()
      await bench.devices.configure(name, { privateKey, listenPort: 40_001, fwmark: 0x100 })
      await bench.devices.configure(name, { peers: [{ kind: 'set', publicKey: key, addAllowedIps: [A] }] })
      await bench.devices.configure(name, { fwmark: 0x200 })
      const device = await present(bench, name)
      expect(device.privateKey?.equals(privateKey)).toBe(true)
      expect(device).toMatchObject({ publicKey: privateKey.publicKey(), listenPort: 40_001, fwmark: 0x200 })
      expect([...device.peers.keys()]).toEqual([key])
    }))

  test('taking one prefix from a peer leaves its others, its endpoint and its keepalive, and no other peer behind', () =>
    withDevice(async (bench, name) => {
      const key = newKey()
      const endpoint = { address: parseAddress('192.0.2.1'), port: 51820 }
      const change = { publicKey: key, endpoint, persistentKeepalive: 25, addAllowedIps: [A, B, C] }
      await bench.devices.configure(name, { peers: [{ kind: 'set', ...change }] })
      for (const [removed, left] of [
        [B, [A, C]],
        [C, [A]],
      ] as const) {
        await bench.devices.configure(name, {
          peers: [{ kind: 'set', publicKey: key, updateOnly: true, removeAllowedIps: [removed] }],
        })
        expect(await peer(bench, name, key)).toMatchObject({
          endpoint,
          persistentKeepalive: 25,
          allowedIps: new Set(left),
        })
        expect((await present(bench, name)).peers.size).toBe(1)
      }
    }))

  test('prefixes of several peers go in one change, with others coming', () =>
    withDevice(async (bench, name) => {
      const [one, other] = [newKey(), newKey()]
      await bench.devices.configure(name, {
        peers: [
          { kind: 'set', publicKey: one, addAllowedIps: [A] },
          { kind: 'set', publicKey: other, addAllowedIps: [B] },
        ],
      })
      await bench.devices.configure(name, {
        peers: [
          { kind: 'set', publicKey: one, removeAllowedIps: [A], addAllowedIps: [C] },
          { kind: 'set', publicKey: other, removeAllowedIps: [B] },
        ],
      })
      expect((await peer(bench, name, one)).allowedIps).toEqual(new Set([C]))
      expect((await peer(bench, name, other)).allowedIps).toEqual(new Set())
    }))

  test('a prefix that another peer is given moves, also where the change takes it from its owner as well', () =>
    withDevice(async (bench, name) => {
      const [from, to] = [newKey(), newKey()]
      await bench.devices.configure(name, { peers: [{ kind: 'set', publicKey: from, addAllowedIps: [A, B, C] }] })
      await bench.devices.configure(name, {
        peers: [
          { kind: 'set', publicKey: to, addAllowedIps: [A, C] },
          { kind: 'set', publicKey: from, updateOnly: true, removeAllowedIps: [C] },
        ],
      })
      expect((await peer(bench, name, from)).allowedIps).toEqual(new Set([B]))
      expect((await peer(bench, name, to)).allowedIps).toEqual(new Set([A, C]))
    }))

  test('a change to a peer that is only to be updated makes none', () =>
    withDevice(async (bench, name) => {
      const change = { kind: 'set' as const, publicKey: newKey(), updateOnly: true }
      await bench.devices.configure(name, { peers: [{ ...change, persistentKeepalive: 5, addAllowedIps: [A] }] })
      await bench.devices.configure(name, { peers: [{ ...change, removeAllowedIps: [A] }] })
      await bench.devices.configure(name, { peers: [{ kind: 'remove', publicKey: newKey() }] })
      expect((await present(bench, name)).peers.size).toBe(0)
    }))

  test('a device is never its own peer', () =>
    withDevice(async (bench, name) => {
      const privateKey = PrivateKey.generate()
      await bench.devices.configure(name, {
        privateKey,
        peers: [{ kind: 'set', publicKey: privateKey.publicKey(), addAllowedIps: [A] }],
      })
      expect((await present(bench, name)).peers.size).toBe(0)
    }))

  test(`${many} peers are written in one change, read back, and go with the device`, () =>
    withDevice(async (bench, name) => {
      const model = new ModelDevice()
      const change = {
        privateKey: PrivateKey.generate(),
        listenPort: 40_000,
        peers: Array.from({ length: many }, (_, i) => ({
          kind: 'set' as const,
          publicKey: newKey(),
          endpoint: { address: parseAddress(`198.51.${i >> 8}.${i & 255}`), port: 51820 },
          addAllowedIps: [parseCidr(`10.${i >> 8}.${i & 255}.0/24`), parseCidr(`fd00:${i.toString(16)}::/64`)],
        })),
      }
      await bench.devices.configure(name, change)
      expect(picture(await present(bench, name))).toEqual(model.apply(change).picture())
      await bench.devices.remove(name)
      expect(await bench.devices.read(name)).toBeUndefined()
    }))

  test('a peer with 3,000 prefixes is written and read whole, and loses half of them in one change', () =>
    withDevice(async (bench, name) => {
      const key = newKey()
      const cidrs = Array.from({ length: 3_000 }, (_, i) => parseCidr(`10.${i >> 8}.${i & 255}.0/24`))
      await bench.devices.configure(name, { peers: [{ kind: 'set', publicKey: key, addAllowedIps: cidrs }] })
      expect((await peer(bench, name, key)).allowedIps).toEqual(new Set(cidrs))
      const removeAllowedIps = cidrs.slice(0, 1_500)
      await bench.devices.configure(name, { peers: [{ kind: 'set', publicKey: key, removeAllowedIps }] })
      expect((await peer(bench, name, key)).allowedIps).toEqual(new Set(cidrs.slice(1_500)))
      expect((await present(bench, name)).peers.size).toBe(1)
    }))

  test('removing a device takes link and peers, twice is fine, and the name can be used again', () =>
    withDevice(async (bench, name) => {
      await bench.devices.configure(name, { peers: [{ kind: 'set', publicKey: newKey(), addAllowedIps: [A] }] })
      await bench.devices.remove(name)
      expect(await bench.hasLink(name)).toBe(false)
      expect(await bench.devices.read(name)).toBeUndefined()
      await bench.devices.remove(name)
      await bench.devices.create(name)
      expect((await present(bench, name)).peers.size).toBe(0)
    }))

  test('a link of another kind is never adopted, and never deleted', async () => {
    await using bench = await open()
    const name = bench.newName()
    await bench.addForeignLink(name)
    const error = await refusal(bench.devices.create(name), 'not-wireguard')
    expect(error.message).toContain('choose another wireguardInterfaceName')
    await refusal(bench.devices.remove(name), 'not-wireguard')
    expect(await bench.hasLink(name)).toBe(true)
  })

  test.each(['', '.', '..', 'a/b', '../x', 'wg 0', 'wg%d', '-f', 'wg0\n', 'sixteen-letters-', 'é', 'a:b'])(
    'the name %j is refused before anything is tried',
    async name => {
      await using bench = await open()
      await refusal(bench.devices.create(name), 'refused')
      await refusal(bench.devices.read(name), 'refused')
      await refusal(bench.devices.configure(name, {}), 'refused')
      await refusal(bench.devices.remove(name), 'refused')
    },
  )
}

/** What needs more than a model: sockets, handshakes, and others that write. */
export function realDeviceConformance(open: () => Promise<Bench>): void {
  test('what wg setconf writes is what is read', async () => {
    await using bench = await open()
    const name = bench.newName()
    await bench.devices.create(name)
    const [privateKey, key] = [PrivateKey.generate(), newKey()]
    const secret = Buffer.from(privateKey.reveal()).toString('base64')
    bench.real?.wg(
      ['setconf', name, '/dev/stdin'],
      `[Interface]
PrivateKey = ${secret}
ListenPort = 40002
FwMark = 0x200000
[Peer]
PublicKey = ${key}
Endpoint = [2001:db8::1]:51820
AllowedIPs = 10.1.0.0/16, fd00:3::/64
PersistentKeepalive = 25
`,
    )
    const device = await present(bench, name)
    expect(device.privateKey?.equals(privateKey)).toBe(true)
    expect(device).toMatchObject({ listenPort: 40_002, fwmark: 0x200000 })
    expect(await peer(bench, name, key)).toMatchObject({
      endpoint: { address: '2001:db8::1', port: 51820 },
      allowedIps: new Set([A, C]),
      persistentKeepalive: 25,
    })
  })

  test('a peer that somebody gave an all-zero key is seen and can be removed', async () => {
    await using bench = await open()
    const name = bench.newName()
    await bench.devices.create(name)
    // To wireguard-go a device without a key has the all-zero one itself.
    await bench.devices.configure(name, { privateKey: PrivateKey.generate() })
    bench.real?.wg(['set', name, 'peer', `${'A'.repeat(43)}=`, 'allowed-ips', '10.1.0.0/16'])
    const [publicKey] = (await present(bench, name)).peers.keys()
    if (!publicKey) throw new Error('not seen')
    await bench.devices.configure(name, { peers: [{ kind: 'remove', publicKey }] })
    expect((await present(bench, name)).peers.size).toBe(0)
  })

  test('a port that another device has is named in the refusal', async () => {
    await using bench = await open()
    const [one, other] = [bench.newName(), bench.newName()]
    for (const name of [one, other]) {
      await bench.devices.create(name)
      await bench.devices.configure(name, { privateKey: PrivateKey.generate() })
      await bench.real?.setUp(name)
    }
    await bench.devices.configure(one, { listenPort: 40_003 })
    const error = await refusal(bench.devices.configure(other, { listenPort: 40_003 }), 'address-in-use')
    expect(error.message).toBe(
      `${other}: port 40003/udp is taken by another program or device: choose another wireguardListeningPort`,
    )
  })

  test('handshakes and bytes of two devices that talk to each other are seen on both', async () => {
    await using bench = await open()
    const ends = [40_004, 40_005].map(listenPort => ({
      name: bench.newName(),
      listenPort,
      privateKey: PrivateKey.generate(),
    }))
    for (const { name, listenPort, privateKey } of ends) {
      await bench.devices.create(name)
      await bench.devices.configure(name, { privateKey, listenPort })
      await bench.real?.setUp(name)
    }
    const before = BigInt(Date.now() - 1_000) * 1_000_000n
    for (const { name, listenPort } of ends) {
      for (const far of ends.filter(end => end.listenPort !== listenPort))
        await bench.devices.configure(name, {
          peers: [
            {
              kind: 'set',
              publicKey: far.privateKey.publicKey(),
              endpoint: { address: parseAddress('127.0.0.1'), port: far.listenPort },
              persistentKeepalive: 1,
            },
          ],
        })
    }
    for (const { name } of ends) {
      const seen = async (): Promise<boolean> => {
        const [status] = (await present(bench, name)).peers.values()
        return status !== undefined && status.latestHandshake > before && status.rxBytes > 0n && status.txBytes > 0n
      }
      expect(await waitUntil(seen, 30_000)).toBe(true)
    }
  })
}
