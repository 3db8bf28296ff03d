import { createHash } from 'node:crypto'
import type { PublicKey } from '#keys/public-key.ts'
import type { Cidr } from '#wg/ip.ts'
import type { Digest } from './hello-content.ts'

/**
 * Digest of what is accepted from a key: the same on every node, whatever the order of the prefixes. With the key in it, as
 * sessions outlive a change of keys, and what arrives by an old one says nothing of the new one.
 */
export function digestOf(key: PublicKey, cidrs: Iterable<Cidr>): Digest {
  return createHash('sha256')
    .update([key, ...[...cidrs].sort()].join('\n'))
    .digest('hex')
    .slice(0, 32)
}

const known = new WeakMap<ReadonlySet<Cidr>, { readonly key: PublicKey; readonly digest: Digest }>()

/** The digest of a set that is never changed in place: as long as the device has the same, it is not made again. */
export function digestOfSet(key: PublicKey, cidrs: ReadonlySet<Cidr>): Digest {
  const before = known.get(cidrs)
  if (before?.key === key) return before.digest
  const digest = digestOf(key, cidrs)
  known.set(cidrs, { key, digest })
  return digest
}
