import { labelsOf } from '#src/cluster/felix-configuration.ts'
import { member, objectOf, textOf } from '#src/cluster/hostile.ts'
import { projectNode } from '#src/cluster/node-record.ts'
import type { ObservedNode } from '#src/cluster/publisher.ts'
import { withoutStartupTaint } from '#src/cluster/startup-taint.ts'
import type { NodeName, NodeRecord } from '#src/mesh/node-record.ts'

/** What is kept of one Node; as it is written, only of our own. */
export interface SeenNode {
  readonly record: NodeRecord
  readonly written: ObservedNode | undefined
  /** status.conditions, only of our own. */
  readonly conditions: unknown
  /** metadata.labels, only of our own. */
  readonly labels: Readonly<Record<string, string>>
  /** Whether it is our own and has the start-up taint. */
  readonly tainted: boolean
}

/** @returns undefined for what is not a named object */
export function seeNode(raw: unknown, self: NodeName): SeenNode | undefined {
  const record = projectNode(raw)
  if (!record) return undefined
  const isOwn = record.name === self
  const conditions = isOwn ? member(objectOf(member(objectOf(raw), 'status')), 'conditions') : undefined
  const tainted = isOwn && withoutStartupTaint(raw) !== undefined
  const labels = isOwn ? labelsOf(raw) : NO_LABELS
  return { record, written: isOwn ? written(raw) : undefined, conditions, labels, tainted }
}

const NO_LABELS: SeenNode['labels'] = {}

function written(raw: unknown): ObservedNode {
  const metadata = objectOf(member(objectOf(raw), 'metadata'))
  return {
    annotations: objectOf(member(metadata, 'annotations')),
    resourceVersion: textOf(member(metadata, 'resourceVersion'), 256) ?? '',
  }
}
