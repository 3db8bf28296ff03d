import { type Cidr, parseCidr } from '#wg/ip.ts'
import { listOf, member, objectOf, quote, textOf } from './hostile.ts'

/**
 * The addresses of an IPPool of Calico that pods may have; also of one that is disabled, as pods that are there keep theirs.
 * @returns undefined for a pool that pods get nothing of
 * @throws Error for one without a usable CIDR
 */
export function projectIpPool(raw: unknown): Cidr | undefined {
  const spec = objectOf(member(objectOf(raw), 'spec'))
  const uses = listOf(member(spec, 'allowedUses'))
  if (uses.length > 0 && !uses.includes('Workload')) return undefined
  const value = member(spec, 'cidr')
  const text = textOf(value, 64)
  if (!text?.includes('/')) throw new RangeError(`spec.cidr ${quote(value)} is not a CIDR`)
  return parseCidr(text)
}
