import { DeviceError } from './device.ts'

/**
 * Refuses names that the kernel would not take (dev_valid_name: 1 to 15 bytes, no slash, colon or white space), that it
 * would expand (`%d`), or that would be something else as a file name or an option.
 * @throws DeviceError
 */
export function checkDeviceName(name: string): void {
  if (/^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}$/.test(name) && name !== '.' && name !== '..') return
  const shown = JSON.stringify(name.slice(0, 32))
  throw new DeviceError(
    'refused',
    shown,
    'is not a name for a device: 1 to 15 letters, digits, dots, dashes and underscores, no dash at the start',
  )
}
