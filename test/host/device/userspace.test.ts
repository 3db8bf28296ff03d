import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { DeviceError } from '#wg/device/device.ts'
import { UserspaceDevices } from '#wg/device/userspace.ts'
import { parseCidr } from '#wg/ip.ts'
import { UAPI_DIRECTORY } from '#wg/uapi/client.ts'
import type { UserspaceProcessOptions } from '#wg/uapi/process.ts'
import { waitUntil } from '#wg/uapi/wait.ts'
import { describeInNamespaces, type Namespace } from '../netlink/namespace.ts'
import { deviceConformance, realDeviceConformance } from './conformance.ts'
import { NamespaceBench } from './namespace-bench.ts'

/** This process stays in the machine's own namespace; what it starts is put into the bench's. */
const enter = (namespace: Namespace): [string, ...string[]] => ['ip', 'netns', 'exec', namespace.name]

const open = (options: UserspaceProcessOptions = {}) =>
  NamespaceBench.make(async (namespace, links) => ({
    devices: new UserspaceDevices(links, { prefix: enter(namespace), ...options }),
  }))

/** Process ids of what serves this device. */
const servers = (device: string): number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter(pid => pid > 0 && commandLine(pid).endsWith(`wireguard-go\0${device}\0`))

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

/** proc_pid_stat(5); the name, which may hold anything, is cut out. */
function statOf(pid: number): { session: number; terminal: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/\(.*\)/s, '')
    .split(/ +/)
    .map(Number)
  return { session: fields[4] ?? -1, terminal: fields[5] ?? -1 }
}

const socketOf = (device: string): string => join(UAPI_DIRECTORY, `${device}.sock`)

async function refusal(action: Promise<unknown>): Promise<DeviceError> {
  const error = await action.catch((thrown: unknown) => thrown)
  if (!(error instanceof DeviceError)) throw new Error(`not a DeviceError: ${String(error)}`)
  return error
}

const isInstalled = spawnSync('wireguard-go', ['--version']).status === 0
const name = 'devices in user space'
describe.skipIf(!isInstalled)(isInstalled ? name : `${name} (wireguard-go is not installed)`, () => {
  describeInNamespaces('in a network namespace', () => {
    deviceConformance(open, { runs: 10, many: 1_000 })
    realDeviceConformance(open)
  })

  describeInNamespaces('the process of a device', () => {
    /** Makes a device from a process of its own, which then kills its own group, as a container's end would its session. */
    function createAndDie(bench: NamespaceBench, device: string): void {
      const program = `
        import { UserspaceDevices } from '#wg/device/userspace.ts'
        import { RouteNetlink } from '#wg/rtnetlink/route-netlink.ts'
        const devices = new UserspaceDevices(RouteNetlink.open())
        await devices.create(process.argv.at(-1))
        process.kill(-process.pid, 'SIGKILL')`
      const [command, ...args]: [string, ...string[]] = [
        ...enter(bench.namespace),
        'setsid',
        process.execPath,
        '--input-type=module',
        '-e',
        program,
        device,
      ]
      spawnSync(command, args, { cwd: join(import.meta.dirname, '../../..'), stdio: 'ignore' })
    }

    test('outlives the process that started it, and is adopted with its configuration', async () => {
      await using bench = await open()
      const device = bench.newName()
      createAndDie(bench, device)
      const before = servers(device)
      expect(before).toHaveLength(1)
      const privateKey = PrivateKey.generate()
      await bench.devices.configure(device, { privateKey })
      await new UserspaceDevices(bench.links, { prefix: enter(bench.namespace) }).create(device)
      expect(servers(device)).toEqual(before)
      expect((await bench.devices.read(device))?.privateKey?.equals(privateKey)).toBe(true)
    })

    test('has a session of its own, no terminal, nothing of our environment and nothing of ours open', async () => {
      await using bench = await open()
      const device = bench.newName()
      process.env.PODVEIL_TEST_SECRET = 'not for you'
      try {
        await bench.devices.create(device)
      } finally {
        delete process.env.PODVEIL_TEST_SECRET
      }
      const [pid = 0] = servers(device)
      expect(statOf(pid).session).not.toBe(statOf(process.pid).session)
      expect(statOf(pid).terminal).toBe(0)
      expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).not.toContain('PODVEIL_TEST_SECRET')
      for (const stdio of [0, 1, 2]) expect(statSync(`/proc/${pid}/fd/${stdio}`).rdev).toBe(statSync('/dev/null').rdev)
    })

    test('that was killed is replaced: the socket that it left behind is no obstacle', async () => {
      await using bench = await open()
      const device = bench.newName()
      await bench.devices.create(device)
      const [pid = 0] = servers(device)
      process.kill(pid, 'SIGKILL')
      expect(await waitUntil(async () => servers(device).length === 0, 5_000)).toBe(true)
      expect(statSync(socketOf(device)).isSocket()).toBe(true)
      expect(await bench.devices.read(device)).toBeUndefined()
      await bench.devices.create(device)
      expect(await bench.devices.read(device)).toBeDefined()
      expect(servers(device)).toHaveLength(1)
    })

    test('is gone when the device was removed, and so is its socket', async () => {
      await using bench = await open()
      const device = bench.newName()
      await bench.devices.create(device)
      await bench.devices.remove(device)
      expect(() => statSync(socketOf(device))).toThrow('ENOENT')
      expect(await waitUntil(async () => servers(device).length === 0, 5_000)).toBe(true)
    })

    test('is made anew when somebody deleted the device under it', async () => {
      await using bench = await open()
      const device = bench.newName()
      await bench.devices.create(device)
      bench.namespace.ip(`link delete ${device}`)
      await bench.devices.create(device)
      expect(await bench.hasLink(device)).toBe(true)
      expect(await bench.devices.read(device)).toBeDefined()
    })

    test('that serves a device of that name in another network namespace is left alone', async () => {
      await using bench = await open()
      await using other = await open({ timeout: 300 })
      const device = bench.newName()
      await bench.devices.create(device)
      for (const action of ['create', 'remove'] as const) {
        const error = await refusal(other.devices[action](device))
        expect(error.reason).toBe('refused')
        expect(error.message).toContain('is of a device in another network namespace')
      }
      expect(await bench.devices.read(device)).toBeDefined()
    })

    test('is not touched by a tun device of another program', async () => {
      await using bench = await open()
      const device = bench.newName()
      bench.namespace.ip(`tuntap add ${device} mode tun`)
      expect((await refusal(bench.devices.create(device))).reason).toBe('not-wireguard')
      expect((await refusal(bench.devices.remove(device))).reason).toBe('not-wireguard')
      expect(await bench.hasLink(device)).toBe(true)
    })
  })

  describeInNamespaces('a program that cannot', () => {
    test('be found is named with the package that has it', async () => {
      await using bench = await open({ binary: 'no-such-wireguard' })
      const error = await refusal(bench.devices.create(bench.newName()))
      expect(error.reason).toBe('unsupported')
      expect(error.message).toMatch(
        /no-such-wireguard is not installed: install the package wireguard-go .*PODVEIL_WIREGUARD_GO/,
      )
    })

    test('have its socket where there is no directory for it says so, and what to mount', async () => {
      const directory = '/sys/wireguard'
      await using bench = await open({ directory })
      const error = await refusal(bench.devices.create(bench.newName()))
      expect(error.reason).toBe('unsupported')
      expect(error.message).toMatch(
        /no socket can be made in \/sys\/wireguard \(E[A-Z]+\): in a container, mount the host's directory/,
      )
    })

    test('make a device for want of privileges says so', async () => {
      await using bench = await NamespaceBench.make(async (namespace, links) => ({
        devices: new UserspaceDevices(links, { prefix: [...enter(namespace), 'setpriv', '--bounding-set=-net_admin'] }),
      }))
      const device = bench.newName()
      const error = await refusal(bench.devices.create(device))
      expect(error.reason).toBe('not-permitted')
      expect(error.message).toContain('CAP_NET_ADMIN')
      expect(error.message).not.toContain('\n')
    })

    test.each([
      ['ends with a status', 'exit 3', 300, 'could not make the device: ended with 3'],
      [
        'says why',
        'echo "ERROR: the moon is full" >&2; exit 1',
        300,
        'could not make the device: ERROR: the moon is full',
      ],
      [
        'says more than anybody wants to read',
        'yes "ERROR: no" | head -c 1000000 >&2; exit 1',
        2_000,
        'could not make the device: ERROR: no',
      ],
      ['never ends', 'exec sleep 1000', 300, 'could not make the device: ended with SIGKILL'],
      ['starts, but serves nothing', 'exit 0', 300, 'started, but does not answer'],
    ])('serve and %s is refused', async (_, script, timeout, words) => {
      const directory = await mkdtemp(join(tmpdir(), 'podveil-program-'))
      try {
        const binary = join(directory, 'program')
        await writeFile(binary, `#!/bin/sh\n${script}\n`)
        await chmod(binary, 0o755)
        await using bench = await open({ binary, timeout })
        const error = await refusal(bench.devices.create(bench.newName()))
        expect(error.reason).toBe('refused')
        expect(error.message).toContain(words)
      } finally {
        await rm(directory, { recursive: true, force: true })
      }
    })
  })

  describeInNamespaces('two hundred changes at once', () => {
    test('are all there afterwards', async () => {
      await using bench = await open()
      const device = bench.newName()
      await bench.devices.create(device)
      const keys = Array.from({ length: 200 }, () => PrivateKey.generate().publicKey())
      await Promise.all(
        keys.map((publicKey, i) =>
          bench.devices.configure(device, {
            peers: [{ kind: 'set', publicKey, addAllowedIps: [parseCidr(`10.0.${i}.0/24`)] }],
          }),
        ),
      )
      expect(new Set((await bench.devices.read(device))?.peers.keys())).toEqual(new Set(keys))
    })
  })
})
