import type { JsonObject } from './json.ts'
import type { StoredObject } from './object.ts'
import { groupVersion, type Resource } from './resource.ts'

const bodies = new WeakMap<JsonObject, string>()
const metadataOnly = new WeakMap<JsonObject, string>()

/** JSON of the object without apiVersion and kind, kept so that each of many watchers costs no encoding of its own. */
function bodyOf(resource: Resource, object: StoredObject): string {
  if (resource.fromStored !== undefined) return JSON.stringify(resource.fromStored(object))
  return remembered(bodies, object, () => JSON.stringify(object))
}

/** JSON of the object with its apiVersion and kind. */
export function encodeObject(resource: Resource, object: StoredObject): string {
  return typed(resource.kind, groupVersion(resource), bodyOf(resource, object))
}

/** JSON of the object as an item of a list: the real server's own kinds have no apiVersion and kind there. */
export function encodeItem(resource: Resource, object: StoredObject): string {
  return resource.schema === undefined ? bodyOf(resource, object) : encodeObject(resource, object)
}

/** JSON of the object's metadata alone, as PartialObjectMetadata. */
export function encodePartial(object: StoredObject): string {
  return remembered(metadataOnly, object, () => {
    return typed('PartialObjectMetadata', 'meta.k8s.io/v1', JSON.stringify({ metadata: object.metadata }))
  })
}

function typed(kind: string, apiVersion: string, body: string): string {
  return `${JSON.stringify({ kind, apiVersion }).slice(0, -1)},${body.slice(1)}`
}

function remembered(cache: WeakMap<JsonObject, string>, object: StoredObject, encode: () => string): string {
  const known = cache.get(object)
  if (known !== undefined) return known
  const made = encode()
  cache.set(object, made)
  return made
}
