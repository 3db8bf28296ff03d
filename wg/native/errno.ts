import { constants } from 'node:os'
import { getSystemErrorMessage } from 'node:util'

/** What the kernel answers and libc's table, which Node.js carries, does not name (asm-generic/errno.h, linux/errno.h). */
const BEYOND_LIBC: readonly [number, string][] = [
  [126, 'ENOKEY'],
  [524, 'ENOTSUPP'],
]

const NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(constants.errno).map(([name, errno]): [number, string] => [errno, name]),
  ...BEYOND_LIBC,
  // Two names share these numbers; the kernel's own is the one that people search for.
  [constants.errno.EAGAIN, 'EAGAIN'],
  [constants.errno.EOPNOTSUPP, 'EOPNOTSUPP'],
])

/** `ENODEV` for 19; `errno 4095` for a number without a name. */
export const errnoName = (errno: number): string => NAMES.get(errno) ?? `errno ${errno}`

/** `no such device` for 19. */
export function errnoText(errno: number): string {
  return NAMES.has(errno) && errno < 500 ? getSystemErrorMessage(-errno) : 'unknown error'
}
