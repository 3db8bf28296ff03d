import { isDeepStrictEqual } from 'node:util'
import { builtin } from './builtin-kind.ts'
import { AGE, column, NAME, orNone } from './columns.ts'
import { arrayAt, at, type JsonObject, objectAt, textAt } from './json.ts'
import { textMap } from './object.ts'
import type { Resource } from './resource.ts'
import type { Cause } from './status.ts'

const ROLE_PREFIX = 'node-role.kubernetes.io/'

export const NODES: Resource = builtin({
  kind: 'Node',
  plural: 'nodes',
  description: 'A machine of the cluster.',
  shortNames: ['no'],
  namespaced: false,
  status: 'with-metadata',
  selectable: ['spec.unschedulable'],
  mergeKeys: {
    'spec.podCIDRs': '',
    'status.addresses': 'type',
    'status.conditions': 'type',
  },
  columns: [
    NAME,
    column('Status', statusText),
    column('Roles', roles),
    AGE,
    column('Version', 'status.nodeInfo.kubeletVersion'),
    column('Internal-IP', node => addressOf(node, 'InternalIP'), 1),
    column('External-IP', node => addressOf(node, 'ExternalIP'), 1),
    column('OS-Image', node => orUnknown(textAt(node, 'status', 'nodeInfo', 'osImage')), 1),
    column('Kernel-Version', node => orUnknown(textAt(node, 'status', 'nodeInfo', 'kernelVersion')), 1),
    column('Container-Runtime', node => orUnknown(textAt(node, 'status', 'nodeInfo', 'containerRuntimeVersion')), 1),
  ],
  toStored: fillPodCidrs,
  check: checkNode,
})

/** podCIDR is the first of podCIDRs, and wins where they differ: who gives one of the two gives both. */
function fillPodCidrs(node: JsonObject): JsonObject {
  const cidr = textAt(node, 'spec', 'podCIDR')
  const cidrs = arrayAt(node, 'spec', 'podCIDRs')
  const spec = objectAt(node, 'spec')
  if (cidr !== '' && cidrs[0] !== cidr) return { ...node, spec: { ...spec, podCIDRs: [cidr] } }
  if (cidr === '' && cidrs[0] !== undefined) return { ...node, spec: { ...spec, podCIDR: cidrs[0] } }
  return node
}

function statusText(node: JsonObject): string {
  const ready = arrayAt(node, 'status', 'conditions').find(condition => textAt(condition, 'type') === 'Ready')
  const words = [ready === undefined ? 'Unknown' : textAt(ready, 'status') === 'True' ? 'Ready' : 'NotReady']
  if (at(node, 'spec', 'unschedulable') === true) words.push('SchedulingDisabled')
  return words.join(',')
}

function roles(node: JsonObject): string {
  const labels = Object.keys(textMap(node, 'labels')).filter(label => label.startsWith(ROLE_PREFIX))
  return orNone(
    labels
      .map(label => label.slice(ROLE_PREFIX.length))
      .sort()
      .join(','),
  )
}

function addressOf(node: JsonObject, type: string): string {
  const found = arrayAt(node, 'status', 'addresses').find(address => textAt(address, 'type') === type)
  return orNone(textAt(found, 'address'))
}

function orUnknown(text: string): string {
  return text === '' ? '<unknown>' : text
}

/** Pod CIDRs and the provider's id are given once; the first of podCIDRs is podCIDR. */
function checkNode(next: JsonObject, previous: JsonObject | undefined): readonly Cause[] {
  const causes: Cause[] = []
  const cidrs = arrayAt(next, 'spec', 'podCIDRs')
  const before = objectAt(previous, 'spec')
  if (arrayAt(before, 'podCIDRs').length > 0 && !isDeepStrictEqual(arrayAt(before, 'podCIDRs'), cidrs)) {
    causes.push(forbidden('spec.podCIDRs', 'node updates may not change podCIDR except from "" to valid'))
  }
  if (textAt(before, 'providerID') !== '' && textAt(before, 'providerID') !== textAt(next, 'spec', 'providerID')) {
    causes.push(forbidden('spec.providerID', 'node updates may not change providerID except from "" to valid'))
  }
  return causes
}

function forbidden(field: string, why: string): Cause {
  return { reason: 'FieldValueForbidden', message: `Forbidden: ${why}`, field }
}
