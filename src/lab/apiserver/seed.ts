import { admitCreate, admitUpdate, sameObject } from './admission.ts'
import { CUSTOM_RESOURCE_DEFINITIONS } from './custom-resources.ts'
import { type JsonObject, textAt } from './json.ts'
import { CORE_KINDS } from './kinds-core.ts'
import { withMeta } from './object.ts'
import type { Resource } from './resource.ts'
import type { Store } from './store.ts'

/** Namespaces that every cluster has from its start. */
const NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease']

/** Puts in the store what a cluster has from its start, and the definitions; what is there already is kept or brought up to date. */
export function seed(store: Store, definitions: readonly JsonObject[]): void {
  const namespaces = CORE_KINDS.filter(resource => resource.kind === 'Namespace')
  for (const resource of namespaces) {
    for (const name of NAMESPACES) apply(store, resource, { metadata: { name } })
  }
  for (const definition of definitions) apply(store, CUSTOM_RESOURCE_DEFINITIONS, definition)
}

function apply(store: Store, resource: Resource, body: JsonObject): void {
  const current = store.get(resource.collection, textAt(body, 'metadata', 'name'))
  if (current === undefined) {
    store.put(resource.collection, admitCreate(resource, body, undefined).object)
    return
  }
  if (resource !== CUSTOM_RESOURCE_DEFINITIONS) return
  const { resourceVersion } = current.metadata
  const { object } = admitUpdate(resource, current, withMeta(body, { resourceVersion }))
  if (!sameObject(object, current)) store.put(resource.collection, object)
}
