import { NetlinkError } from '../netlink/errors.ts'
import { UapiError, UapiFormatError } from '../uapi/errors.ts'
import { type DeviceChange, DeviceError, type DeviceErrorReason } from './device.ts'

/** What to do about an answer, by its name in errno.h. */
const REMEDIES: ReadonlyMap<string, readonly [DeviceErrorReason, string]> = new Map([
  ['EPERM', ['not-permitted', 'run as root, or with CAP_NET_ADMIN in this network namespace']],
  ['EACCES', ['not-permitted', 'run as root, or with CAP_NET_ADMIN in this network namespace']],
  ['ENODEV', ['no-such-device', 'somebody deleted it, or its process ended: create it again']],
  [
    'EOPNOTSUPP',
    ['unsupported', 'use a kernel with WireGuard (5.6 or later, module wireguard) or the userspace dataplane'],
  ],
] satisfies [string, readonly [DeviceErrorReason, string]][])

/**
 * Errors of netlink and of the userspace protocol, in a device's terms. What is not theirs is returned as it is.
 * @param change what was being written: the port, when it is the port that is taken
 */
export function deviceError(error: unknown, device: string, change: DeviceChange = {}): unknown {
  if (error instanceof UapiFormatError)
    return new DeviceError('refused', device, `${error.message}: is another program listening on its socket?`, {
      cause: error,
    })
  if (!(error instanceof NetlinkError) && !(error instanceof UapiError)) return error
  if (error.errnoName === 'EADDRINUSE') {
    const { listenPort } = change
    const port = listenPort === undefined ? 'its port' : `port ${listenPort}/udp`
    return new DeviceError(
      'address-in-use',
      device,
      `${port} is taken by another program or device: choose another wireguardListeningPort`,
      { cause: error },
    )
  }
  const [reason, remedy] = REMEDIES.get(error.errnoName) ?? ['refused']
  return new DeviceError(reason, device, remedy === undefined ? error.message : `${error.errnoName}: ${remedy}`, {
    cause: error,
  })
}

/** A link under a device's name that is something else. It is never deleted: it is not ours. */
export const foreignLink = (device: string, kind: string | undefined, wanted: string): DeviceError =>
  new DeviceError(
    'not-wireguard',
    device,
    `is a link of kind ${kind ?? 'none'}, not ${wanted}: choose another wireguardInterfaceName, or remove it if nobody needs it ("ip link delete ${device}")`,
  )
