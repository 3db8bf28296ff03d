import { labelsOf } from '#src/cluster/felix-configuration.ts'
import { member, objectOf } from '#src/cluster/hostile.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import { type ObservedNode, observedNode } from '#src/cluster/publisher.ts'
import { type SelfDescription, selfDescription } from '#src/cluster/self-description.ts'
import { withoutStartupTaint } from '#src/cluster/startup-taint.ts'
import type { NodeRecord } from '#src/mesh/node-record.ts'

/** What is kept of our own Node. */
export interface OwnNode {
  readonly record: NodeRecord
  /** What others can know of it without reading it whole, once we have said it. */
  readonly description: SelfDescription
  readonly written: ObservedNode
  /** status.conditions */
  readonly conditions: unknown
  /** metadata.labels */
  readonly labels: Readonly<Record<string, string>>
  /** Whether it has the start-up taint. */
  readonly tainted: boolean
}

/** @returns undefined for what is not a named object */
export function ownNode(raw: unknown): OwnNode | undefined {
  const record = projectNode(raw)
  return (
    record && {
      record,
      description: selfDescription(raw, record),
      written: observedNode(raw),
      conditions: member(objectOf(member(objectOf(raw), 'status')), 'conditions'),
      labels: labelsOf(raw),
      tainted: withoutStartupTaint(raw) !== undefined,
    }
  )
}
