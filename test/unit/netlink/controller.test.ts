import { constants } from 'node:os'
import { expect, test } from 'vitest'
import { genlMessage, parseGenlMessage, resolveFamily } from '#wg/genetlink/controller.ts'
import { AttributeWriter } from '#wg/netlink/attributes.ts'
import { Connection } from '#wg/netlink/connection.ts'
import { acknowledgement, KernelDouble, part, refusal } from './kernel-double.ts'

const { ENOENT, EPERM } = constants.errno

test('finds the number, version and groups of a family by its name', async () => {
  const kernel = new KernelDouble()
  kernel.onSend = ([message]) => {
    if (message === undefined) return
    const request = parseGenlMessage(message.payload)
    expect(request.command).toBe(3)
    expect(request.attributes[0]?.string()).toBe('wireguard')
    const attributes = new AttributeWriter()
      .string(2, 'wireguard')
      .u16(1, 31)
      .u32(3, 1)
      .u32(5, 8)
      .nested(7, groups => groups.nested(1, group => group.string(1, 'peers').u32(2, 9)))
    kernel.receive([
      part(message, 16, genlMessage({ id: 16, version: 2 }, 1, attributes.bytes()).payload),
      acknowledgement(message),
    ])
  }
  expect(await resolveFamily(new Connection(kernel), 'wireguard')).toEqual({
    name: 'wireguard',
    id: 31,
    version: 1,
    groups: new Map([['peers', 9]]),
  })
})

test('a family that the kernel does not know means that the module is missing', async () => {
  const kernel = new KernelDouble()
  kernel.onSend = ([message]) => message && kernel.receive([refusal(message, { errno: ENOENT })])
  expect(await resolveFamily(new Connection(kernel), 'wireguard')).toBeUndefined()
})

test('any other refusal is an error', async () => {
  const kernel = new KernelDouble()
  kernel.onSend = ([message]) => message && kernel.receive([refusal(message, { errno: EPERM })])
  await expect(resolveFamily(new Connection(kernel), 'wireguard')).rejects.toThrow(
    'find generic netlink family wireguard: EPERM',
  )
})
