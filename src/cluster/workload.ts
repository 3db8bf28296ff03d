import type { NodeName } from '#src/mesh/node-record.ts'
import type { Workload } from '#src/mesh/workload.ts'
import { familyOf, type IpAddress, parseAddress } from '#wg/ip.ts'
import { listOf, member, objectOf, textOf } from './hostile.ts'
import { parseHostAddress } from './node-addresses.ts'
import { birthDate } from './timestamp.ts'

/** The API allows one of each family, and plugins with more networks tell of theirs elsewhere. */
const MOST_ADDRESSES = 16

/** What an API server leaves out by itself; the same is looked at here, as an older one may not know the field. */
export const WORKLOAD_SELECTOR = 'spec.hostNetwork!=true,status.phase!=Succeeded,status.phase!=Failed'

const OVER: readonly unknown[] = ['Succeeded', 'Failed']

/**
 * What the mesh keeps of a Pod. A Pod that is pending has its addresses while its init containers run.
 * @returns undefined for one that has none of its own, or none any more
 * @throws Error for an address that no pod can have
 */
export function projectWorkload(raw: unknown): Workload | undefined {
  const object = objectOf(raw)
  const metadata = objectOf(member(object, 'metadata'))
  const spec = objectOf(member(object, 'spec'))
  const status = objectOf(member(object, 'status'))
  const node = textOf(member(spec, 'nodeName'), 253)
  const name = textOf(member(metadata, 'name'), 253)
  if (!node || !name || member(spec, 'hostNetwork') === true || OVER.includes(member(status, 'phase'))) return undefined
  const listed = listOf(member(status, 'podIPs')).map(entry => member(objectOf(entry), 'ip'))
  const given = listed.length > 0 ? listed : [member(status, 'podIP')]
  const addresses = new Set(given.slice(0, MOST_ADDRESSES).flatMap(value => podAddress(value) ?? []))
  if (addresses.size === 0) return undefined
  return {
    id: `${textOf(member(metadata, 'namespace'), 253) ?? ''}/${name}`,
    createdAt: birthDate(member(metadata, 'creationTimestamp')) ?? Number.MAX_SAFE_INTEGER,
    leaving: textOf(member(metadata, 'deletionTimestamp'), 64) !== undefined,
    node: node as NodeName,
    addresses: [...addresses],
  }
}

function podAddress(value: unknown): IpAddress | undefined {
  const text = textOf(value, 64)
  if (!text) return undefined
  return parseHostAddress(text, familyOf(parseAddress(text)))
}
