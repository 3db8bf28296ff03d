import { at, type Json, type JsonObject, textAt } from './json.ts'

/** metadata of an object as it is stored; the server owns uid, resourceVersion, creationTimestamp and generation. */
export interface ObjectMeta extends JsonObject {
  readonly name: string
  readonly uid: string
  readonly resourceVersion: string
  readonly creationTimestamp: string
}

/** An object as it is stored: without apiVersion and kind, which belong to the version that it is read in. */
export interface StoredObject extends JsonObject {
  readonly metadata: ObjectMeta
}

/** Where an object is in its collection: namespace/name, or the name alone where there are no namespaces. */
export function keyOf(object: JsonObject): string {
  const namespace = textAt(object, 'metadata', 'namespace')
  const name = textAt(object, 'metadata', 'name')
  return namespace === '' ? name : `${namespace}/${name}`
}

/** Its metadata.labels or metadata.annotations: text to text. */
export function textMap(object: JsonObject, field: 'labels' | 'annotations'): Readonly<Record<string, string>> {
  const map = at(object, 'metadata', field)
  return (map ?? {}) as Readonly<Record<string, string>> // metadata.ts has refused values that are not text
}

export function withMeta<T extends JsonObject>(object: T, changes: Readonly<Record<string, Json | undefined>>): T {
  const metadata: Record<string, Json> = {}
  for (const [key, value] of Object.entries({ ...(object.metadata as JsonObject), ...changes })) {
    if (value !== undefined) metadata[key] = value
  }
  return { ...object, metadata }
}
