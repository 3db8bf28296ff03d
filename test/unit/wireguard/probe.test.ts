import { describe, expect, it } from 'vitest'
import { DeviceError } from '#wg/device/device.ts'
import { type DeviceAccess, type DevicePreference, openDevices } from '#wg/device/probe.ts'
import { genlMessage } from '#wg/genetlink/controller.ts'
import { AttributeWriter } from '#wg/netlink/attributes.ts'
import { NetlinkError } from '#wg/netlink/errors.ts'
import { KernelModel } from './kernel-model.ts'

const NO_PROGRAM = { binary: '/nowhere/wireguard-go' }

/** CTRL_CMD_NEWFAMILY, as the controller answers; ENOENT where the module is missing. */
function access(hasModule: boolean): DeviceAccess {
  const kernel = new KernelModel()
  const get: DeviceAccess['generic']['get'] = async (_, operation) => {
    if (!hasModule) throw new NetlinkError(operation, 2)
    const family = new AttributeWriter().u16(1, kernel.family.id).string(2, 'wireguard').u32(3, 1)
    return { ...genlMessage({ id: 0x10, version: 2 }, 1, family.bytes()), sequence: 1, port: 0 }
  }
  const generic = { get, request: kernel.request.bind(kernel), dump: kernel.dump.bind(kernel) }
  return { links: kernel, generic, userspace: NO_PROGRAM }
}

async function refusal(preference: DevicePreference, hasModule: boolean): Promise<DeviceError> {
  const error = await openDevices(preference, access(hasModule)).catch((thrown: unknown) => thrown)
  if (!(error instanceof DeviceError)) throw new Error(`not a DeviceError: ${String(error)}`)
  expect(error.reason).toBe('unsupported')
  expect(error.message).not.toContain('\n')
  return error
}

describe('the choice of an implementation', () => {
  it.each<DevicePreference>(['auto', 'kernel'])('%s is the kernel where it has WireGuard', async preference => {
    const devices = await openDevices(preference, access(true))
    expect(devices.kind).toBe('kernel')
    await devices.create('wg0')
    expect((await devices.read('wg0'))?.name).toBe('wg0')
  })

  it('auto without either says what is missing of both, and what to install', async () => {
    const { message } = await refusal('auto', false)
    expect(message).toContain('kernel: this kernel has no WireGuard: use Linux 5.6 or later')
    expect(message).toContain('userspace: /nowhere/wireguard-go is not installed: install the package wireguard-go')
  })

  it('kernel without the module does not speak of user space', async () => {
    const { message } = await refusal('kernel', false)
    expect(message).toContain('this kernel has no WireGuard')
    expect(message).not.toContain('wireguard-go')
  })

  it('userspace without the program does not fall back to the kernel', async () => {
    const { message } = await refusal('userspace', true)
    expect(message).toContain('install the package wireguard-go')
    expect(message).not.toContain('kernel has no WireGuard')
  })

  it('passes on what is wrong with the kernel when that is something else', async () => {
    const broken = access(true)
    const get: DeviceAccess['generic']['get'] = async (_, operation) => {
      throw new NetlinkError(operation, 1)
    }
    await expect(openDevices('auto', { ...broken, generic: { ...broken.generic, get } })).rejects.toThrow('EPERM')
  })
})
