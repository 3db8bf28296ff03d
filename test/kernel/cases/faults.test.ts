import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import type { PublicKey } from '#keys/public-key.ts'
import { DeviceError } from '#wg/device/device.ts'
import { KernelDevices } from '#wg/device/kernel.ts'
import { parseCidr } from '#wg/ip.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { NETLINK_GENERIC } from '#wg/netlink/socket.ts'
import { RouteMonitor } from '#wg/rtnetlink/monitor.ts'
import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
import { Namespace } from '../../host/netlink/namespace.ts'
import { asChange, randomConfig } from './support/device-config.ts'
import { DeviceConnection, hasWireGuard, kernelBench } from './support/kernel-devices.ts'
import { withoutModule } from './support/modules.ts'
import { inTestVm, notInTestVm } from './support/profile.ts'
import { Random } from './support/random.ts'

const MANY_PEERS = 2_000
const STORM = 50_000
const CHANGES = 20
const TABLE = 4_242
const LIMIT = { timeout: 240_000, interval: 50 }

describe.skipIf(!(await hasWireGuard()))('WireGuard devices that others change meanwhile', () => {
  test('a device that is read while its peers change is read whole or not at all, and right as soon as they rest', async () => {
    await using bench = await kernelBench()
    const name = bench.newName()
    await bench.devices.create(name)
    const staying = asChange(randomConfig(new Random(7), 500))
    await bench.devices.configure(name, staying)
    const stay = keysOf(staying)

    // Two connections: on one, reading would wait for writing.
    using reader = await DeviceConnection.open(bench.namespace)
    let changing = true
    const change = async (): Promise<void> => {
      for (let round = 0; round < CHANGES; round += 1) {
        const coming = asChange(randomConfig(new Random(1_000 + round), 60))
        await bench.devices.configure(name, { peers: coming.peers ?? [] })
        await bench.devices.configure(name, {
          peers: keysOf(coming).map(publicKey => ({ kind: 'remove' as const, publicKey })),
        })
      }
    }
    const outcomes: ('whole' | 'interrupted')[] = []
    const read = async (): Promise<void> => {
      while (changing) {
        try {
          const present = (await reader.devices.read(name))?.peers
          expect(stay.filter(key => !present?.has(key))).toEqual([])
          outcomes.push('whole')
        } catch (error) {
          // The kernel said each time that something had changed meanwhile, and the attempts are limited.
          expect(error).toBeInstanceOf(DeviceError)
          expect((error as Error).message).toMatch(/kept changing: try again/)
          outcomes.push('interrupted')
        }
      }
    }
    await Promise.all([
      change().finally(() => {
        changing = false
      }),
      read(),
    ])
    expect(outcomes).not.toEqual([])
    expect([...((await reader.devices.read(name))?.peers.keys() ?? [])].sort()).toEqual([...stay].sort())
  })

  test('a device that is deleted while it is configured ends as an error that says so, and is made anew', async () => {
    await using bench = await kernelBench()
    const name = bench.newName()
    const change = asChange(randomConfig(new Random(11), MANY_PEERS))
    // Again until the deletion falls between two messages of one change: it is a race, and either side may win.
    const caught = await vi.waitUntil(async () => {
      await bench.devices.create(name)
      const configured = bench.devices.configure(name, change).then(
        () => undefined,
        (error: unknown) => error,
      )
      const link = await bench.links.link(name)
      if (link) await bench.links.deleteLink(link.index)
      return (await configured) ?? false
    }, LIMIT)
    expect(caught).toBeInstanceOf(DeviceError)
    expect(caught).toMatchObject({ reason: 'no-such-device' })
    expect((caught as Error).message).toContain('create it again')

    await bench.devices.create(name)
    await bench.devices.configure(name, change)
    expect((await bench.devices.read(name))?.peers.size).toBe(MANY_PEERS)
  })

  test('without CAP_NET_ADMIN making and configuring are refused, with the remedy', async () => {
    await using bench = await kernelBench()
    bench.namespace.ip('link add wg-there type wireguard')
    const output = execFileSync(
      'ip',
      [
        ...['netns', 'exec', bench.namespace.name],
        ...['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'],
        ...[process.execPath, fileURLToPath(new URL('fixtures/make-device.ts', import.meta.url))],
      ],
      { encoding: 'utf8' },
    )
    expect(output.trim().split('\n')).toEqual([
      expect.stringMatching(/^not-permitted: wg-new: .*CAP_NET_ADMIN/),
      expect.stringMatching(/^not-permitted: wg-there: .*CAP_NET_ADMIN/),
    ])
  })
})

describe('events', () => {
  test(`a storm of ${STORM} routes that meets a busy process is told as an overrun, and what is read then is right`, async () => {
    using namespace = new Namespace()
    namespace.addDevice('t0')
    // As large as the agent's own.
    using monitor = RouteMonitor.openIn(namespace.path)
    const seen = { events: 0, overruns: 0, last: undefined as unknown }
    monitor.on('event', event => {
      seen.events += 1
      seen.last = event
    })
    monitor.on('overrun', () => {
      seen.overruns += 1
    })
    // The event loop stands still until all of them are there.
    namespace.ip('-batch -', storm(STORM))
    await vi.waitFor(() => expect(seen.overruns).toBeGreaterThan(0), LIMIT)
    using netlink = RouteNetlink.openIn(namespace.path)
    expect(await netlink.routes({ family: 4, table: TABLE })).toHaveLength(STORM)

    const destination = parseCidr('192.0.2.1')
    namespace.ip(`route add ${destination} dev t0 table ${TABLE}`)
    await vi.waitFor(() => expect(seen.last).toMatchObject({ kind: 'route', object: { destination } }), LIMIT)
    expect(seen.events).toBeLessThan(STORM)
    expect(monitor.malformed).toBe(0)
  })
})

describe.skipIf(!inTestVm)(
  inTestVm ? 'a kernel without the module' : `a kernel without the module (${notInTestVm})`,
  () => {
    test('refuses a device with a remedy, and takes one as soon as the module is there', async () => {
      using links = RouteNetlink.open()
      using connection = Connection.open(NETLINK_GENERIC)
      using _ = withoutModule('wireguard')
      // The family's number is of no use without the module: a link has to be made first.
      const devices = new KernelDevices(links, connection, { id: 0, version: 1 })
      const error = await devices.create('wg-none').catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(DeviceError)
      expect(error).toMatchObject({ reason: 'unsupported' })
      expect((error as Error).message).toMatch(/wg-none: .*module wireguard/)
      expect(await hasWireGuard()).toBe(false)
    })

    test('has WireGuard again when the module can be loaded: by asking for it, as the agent does at its start', async () => {
      expect(await hasWireGuard()).toBe(true)
      await using bench = await kernelBench()
      const name = bench.newName()
      await bench.devices.create(name)
      const privateKey = PrivateKey.generate()
      await bench.devices.configure(name, { privateKey })
      expect((await bench.devices.read(name))?.publicKey).toBe(privateKey.publicKey())
    })
  },
)

const keysOf = ({ peers = [] }: ReturnType<typeof asChange>): PublicKey[] => peers.map(({ publicKey }) => publicKey)

function storm(count: number): string {
  const route = (n: number): string => `route add 10.${n >>> 16}.${(n >>> 8) & 255}.${n & 255} dev t0 table ${TABLE}\n`
  return Array.from({ length: count }, (_, n) => route(n)).join('')
}
