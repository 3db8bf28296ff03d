import { encodeObject, encodePartial } from './encoding.ts'
import type { JsonObject } from './json.ts'
import type { StoredObject } from './object.ts'
import type { Resource } from './resource.ts'

/** How much of the object each row carries (`includeObject`). */
export type IncludeObject = 'None' | 'Metadata' | 'Object'

/** JSON of a meta.k8s.io/v1 Table: server-side printing, which `kubectl get` asks for. */
export function encodeTable(
  resource: Resource,
  objects: readonly StoredObject[],
  metadata: JsonObject,
  include: IncludeObject,
): string {
  const columnDefinitions = resource.columns.map(({ name, type, description, priority }, index) => {
    return { name, type, format: index === 0 ? 'name' : '', description, priority }
  })
  const now = Date.now()
  const rows = objects.map(object => {
    const cells = JSON.stringify(resource.columns.map(column => column.cell(object, now)))
    return `{"cells":${cells}${rowObject(resource, object, include)}}`
  })
  const head = JSON.stringify({ kind: 'Table', apiVersion: 'meta.k8s.io/v1', metadata, columnDefinitions })
  return `${head.slice(0, -1)},"rows":[${rows.join(',')}]}`
}

function rowObject(resource: Resource, object: StoredObject, include: IncludeObject): string {
  if (include === 'None') return ''
  return `,"object":${include === 'Object' ? encodeObject(resource, object) : encodePartial(object)}`
}
