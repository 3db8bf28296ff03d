import { builtin } from './builtin-kind.ts'
import { AGE, column, NAME, orNone, since } from './columns.ts'
import { eventFromStored, eventLastSeen, eventSource, eventToStored } from './event-versions.ts'
import { arrayAt, at, type JsonObject, objectAt, plainText, textAt } from './json.ts'
import { withMeta } from './object.ts'
import type { Resource } from './resource.ts'

const namespaces = builtin({
  kind: 'Namespace',
  plural: 'namespaces',
  description: 'A scope for the names of objects.',
  shortNames: ['ns'],
  namespaced: false,
  status: 'with-metadata',
  selectable: ['status.phase'],
  columns: [NAME, column('Status', 'status.phase'), AGE],
  complete: object =>
    withMeta(
      { ...object, spec: { finalizers: [] }, status: { phase: 'Active' } },
      {
        labels: {
          ...objectAt(object, 'metadata', 'labels'),
          'kubernetes.io/metadata.name': textAt(object, 'metadata', 'name'),
        },
      },
    ),
})

const pods = builtin({
  kind: 'Pod',
  plural: 'pods',
  description: 'Containers that run together on a node, with an address of their own.',
  shortNames: ['po'],
  status: 'with-metadata',
  selectable: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.nominatedNodeName',
  ],
  mergeKeys: {
    'spec.containers': 'name',
    'spec.containers.env': 'name',
    'spec.initContainers': 'name',
    'spec.volumes': 'name',
    'spec.imagePullSecrets': 'name',
    'status.conditions': 'type',
    'status.podIPs': 'ip',
    'status.hostIPs': 'ip',
  },
  columns: [
    NAME,
    column('Ready', object => `${readyContainers(object)}/${arrayAt(object, 'spec', 'containers').length}`),
    column('Status', 'status.phase'),
    column('Restarts', () => '0'),
    AGE,
    column('IP', object => orNone(textAt(object, 'status', 'podIP')), 1),
    column('Node', object => orNone(textAt(object, 'spec', 'nodeName')), 1),
  ],
  // The real server throws away what a creator says of the status: a kubelet has to say it through /status.
  complete: object => ({ ...object, status: { phase: 'Pending', qosClass: 'BestEffort' } }),
})

function readyContainers(pod: JsonObject): number {
  return arrayAt(pod, 'status', 'containerStatuses').filter(status => at(status, 'ready') === true).length
}

const serviceAccounts = builtin({
  kind: 'ServiceAccount',
  plural: 'serviceaccounts',
  description: 'An identity for what runs in pods.',
  shortNames: ['sa'],
  columns: [NAME, column('Secrets', object => String(arrayAt(object, 'secrets').length)), AGE],
})

const events = builtin({
  kind: 'Event',
  plural: 'events',
  description: 'A report of something that happened to an object.',
  shortNames: ['ev'],
  selectable: [
    ...['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].map(
      field => `involvedObject.${field}`,
    ),
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
  columns: [
    since('Last Seen', eventLastSeen),
    column('Type', 'type'),
    column('Reason', 'reason'),
    column('Object', object => {
      const kind = textAt(object, 'involvedObject', 'kind').toLowerCase()
      return `${kind}/${textAt(object, 'involvedObject', 'name')}`
    }),
    column('Source', eventSource, 1),
    column('Message', object => textAt(object, 'message').trim()),
    column('Count', object => plainText(at(object, 'count') ?? 1), 1),
    { ...NAME, priority: 1 },
  ],
})

const newEvents: Resource = {
  ...events,
  group: 'events.k8s.io',
  selectable: events.selectable.map(field => field.replace('involvedObject', 'regarding')),
  toStored: eventToStored,
  fromStored: eventFromStored,
}

const leases = builtin({
  group: 'coordination.k8s.io',
  kind: 'Lease',
  plural: 'leases',
  description: 'A claim that has to be renewed, of a leader or of a node that is alive.',
  collection: 'leases.coordination.k8s.io',
  columns: [NAME, column('Holder', 'spec.holderIdentity'), AGE],
})

/** The core kinds that the mesh meets, but for Nodes, which have a file of their own. */
export const CORE_KINDS: readonly Resource[] = [namespaces, pods, serviceAccounts, events, newEvents, leases]
