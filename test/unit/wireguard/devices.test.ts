import { describe, expect, it } from 'vitest'
import { PrivateKey } from '#keys/private-key.ts'
import { DeviceError } from '#wg/device/device.ts'
import { KernelDevices } from '#wg/device/kernel.ts'
import { type Cidr, parseCidr } from '#wg/ip.ts'
import { readAttributes } from '#wg/netlink/attributes.ts'
import { NetlinkError } from '#wg/netlink/errors.ts'
import type { NetlinkRequest } from '#wg/netlink/message.ts'
import type { Bench } from '../../host/device/bench.ts'
import { deviceConformance } from '../../host/device/conformance.ts'
import { KernelModel, type KernelModelOptions } from './kernel-model.ts'

const devicesOf = (kernel: KernelModel) => new KernelDevices(kernel, kernel, kernel.family)

async function modelBench(options: KernelModelOptions): Promise<Bench> {
  const kernel = new KernelModel(options)
  let named = 0
  return {
    devices: devicesOf(kernel),
    newName: () => `wg${named++}`,
    addForeignLink: async name => {
      kernel.otherLinks.set(name, 'bridge')
    },
    hasLink: async name => (await kernel.link(name)) !== undefined,
    [Symbol.asyncDispose]: async () => {},
  }
}

describe.each([
  ['with the remove flag (Linux 6.16)', true],
  ['without the remove flag', false],
])('devices of a model of the kernel %s', (_, knowsRemoveFlag) => {
  deviceConformance(() => modelBench({ knowsRemoveFlag }), { runs: 100, many: 2_000 })
})

describe('devices of the kernel', () => {
  const [A, B, C] = ['10.1.0.0/16', '10.2.0.0/16', '10.3.0.0/16'].map(parseCidr) as [Cidr, Cidr, Cidr]
  const sizes = (requests: readonly NetlinkRequest[]) =>
    requests.map(({ payload }) => readAttributes(payload.subarray(4)).length)

  async function withPeer(options: KernelModelOptions) {
    const kernel = new KernelModel(options)
    const devices = devicesOf(kernel)
    const publicKey = PrivateKey.generate().publicKey()
    await devices.create('wg0')
    await devices.configure('wg0', {
      peers: [{ kind: 'set', publicKey, addAllowedIps: [A, B, C] }],
    })
    kernel.requests.length = 0
    const take = (cidr = A) =>
      devices.configure('wg0', {
        peers: [{ kind: 'set', publicKey, updateOnly: true, removeAllowedIps: [cidr] }],
      })
    return { kernel, devices, take }
  }

  it('learn once that the kernel has no remove flag, and do not ask again', async () => {
    const { kernel, take } = await withPeer({ knowsRemoveFlag: false })
    await take(A)
    expect(kernel.requests).toHaveLength(2)
    await take(B)
    expect(kernel.requests).toHaveLength(3)
  })

  it('take a prefix with one message where the kernel has the flag', async () => {
    const { kernel, take } = await withPeer({ knowsRemoveFlag: true })
    await take(A)
    await take(B)
    expect(sizes(kernel.requests)).toEqual([2, 2])
  })

  it('do not take another failure for a kernel without the flag', async () => {
    const { kernel, take } = await withPeer({ knowsRemoveFlag: true })
    const request = kernel.request.bind(kernel)
    kernel.request = async (_, operation) => {
      throw new NetlinkError(operation, 105)
    }
    await expect(take(A)).rejects.toThrow(/ENOBUFS/)
    kernel.request = request
    kernel.requests.length = 0
    await take(A)
    const [message] = kernel.requests
    const peers = message && readAttributes(message.payload.subarray(4)).at(-1)?.nested()
    expect(kernel.requests).toHaveLength(1)
    // Without a throw-away peer.
    expect(peers).toHaveLength(1)
  })

  it('send nothing for a change of nothing', async () => {
    const { kernel, devices } = await withPeer({})
    await devices.configure('wg0', {})
    await devices.configure('wg0', { peers: [] })
    expect(kernel.requests).toEqual([])
  })

  it('remove all peers before the link, in pieces', async () => {
    const { kernel, devices } = await withPeer({})
    const peers = Array.from({ length: 300 }, () => ({
      kind: 'set' as const,
      publicKey: PrivateKey.generate().publicKey(),
    }))
    await devices.configure('wg0', { peers })
    const device = kernel.devices.get('wg0')
    kernel.requests.length = 0
    await devices.remove('wg0')
    expect(kernel.requests.length).toBeGreaterThan(4)
    expect(device?.peers.size).toBe(0)
    expect(kernel.devices.size).toBe(0)
  })

  it.each([
    [1, 'not-permitted', 'run as root, or with CAP_NET_ADMIN'],
    [19, 'no-such-device', 'create it again'],
    [95, 'not-wireguard', 'choose another wireguardInterfaceName'],
    [98, 'address-in-use', 'port 51820/udp is taken'],
    [12, 'refused', 'ENOMEM'],
  ])('answer errno %d with %s and a remedy', async (errno, reason, words) => {
    const kernel = new KernelModel()
    kernel.request = async (_, operation) => {
      throw new NetlinkError(operation, errno)
    }
    const error = await devicesOf(kernel)
      .configure('wg0', { listenPort: 51820, privateKey: PrivateKey.generate() })
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(DeviceError)
    expect(error).toMatchObject({ reason, device: 'wg0', code: 'ERR_WIREGUARD_DEVICE' })
    expect(String(error)).toContain(words)
  })

  it('say what is missing when the kernel has no WireGuard', async () => {
    const kernel = new KernelModel()
    kernel.createLink = async name => {
      throw new NetlinkError(`create link ${name}`, 95)
    }
    await expect(devicesOf(kernel).create('wg0')).rejects.toThrow(/^wg0: EOPNOTSUPP: use a kernel with WireGuard/)
  })

  it('take a device that appeared meanwhile for made', async () => {
    const kernel = new KernelModel()
    const create = kernel.createLink.bind(kernel)
    kernel.createLink = async name => {
      await create(name)
      throw new NetlinkError(`create link ${name}`, 17)
    }
    await devicesOf(kernel).create('wg0')
    expect(kernel.devices.has('wg0')).toBe(true)
  })
})
