import type { NodeRecord } from '#src/mesh/node-record.ts'
import type { Cidr, IpAddress } from '#wg/ip.ts'
import { annotations, SELF_DESCRIBED } from './annotations.ts'
import { member, objectOf } from './hostile.ts'
import { statusAddresses } from './node-addresses.ts'
import type { DesiredTexts } from './publisher.ts'

/** What a Node says of itself in its spec and status, and nowhere in its metadata unless its agent says it there once more. */
export interface SelfDescription {
  readonly addresses: readonly IpAddress[]
  readonly podCidrs: readonly Cidr[]
}

/** @param record of that Node */
export function selfDescription(node: unknown, { addresses, podCidrs }: NodeRecord): SelfDescription {
  const { internal, external } = statusAddresses(objectOf(node), () => {})
  const stated = new Set([...internal, ...external])
  return { addresses: addresses.filter(address => stated.has(address)), podCidrs }
}

/** Whether what is said of a Node's addresses and pod CIDRs is in its metadata. */
export const describesItself = (node: unknown): boolean =>
  member(objectOf(member(objectOf(member(objectOf(node), 'metadata')), 'labels')), SELF_DESCRIBED) !== undefined

/** What says this on a Node; undefined withdraws it. */
export function descriptionTexts(said: SelfDescription | undefined): {
  readonly annotations: DesiredTexts
  readonly labels: DesiredTexts
} {
  return {
    annotations: new Map([
      [annotations.addresses, listed(said?.addresses)],
      [annotations.podCidrs, listed(said?.podCidrs)],
    ]),
    labels: new Map([[SELF_DESCRIBED, said ? 'true' : null]]),
  }
}

const listed = (values: readonly string[] | undefined): string | null => values?.join(',') || null
