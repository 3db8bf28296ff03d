import { createHash } from 'node:crypto'
import type { Cidr } from '#wg/ip.ts'
import type { Digest } from './hello-content.ts'

/** Digest of a set of prefixes, the same on every node whatever the order. */
export function digestOf(cidrs: Iterable<Cidr>): Digest {
  return createHash('sha256')
    .update([...cidrs].sort().join('\n'))
    .digest('hex')
    .slice(0, 32)
}
