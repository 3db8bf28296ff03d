import type { Json, JsonObject } from './json.ts'
import type { ObjectSchema } from './schema.ts'
import type { Cause } from './status.ts'

/** A column of `kubectl get`, server-side printing. */
export interface Column {
  readonly name: string
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date'
  readonly description: string
  /** 0 is always shown, 1 with `-o wide`. */
  readonly priority: number
  /** The cell, given the object and the time of the request (Unix time in milliseconds) for ages. */
  readonly cell: (object: JsonObject, now: number) => Json
}

/** One version of a kind of object, as it is served. */
export interface Resource {
  readonly group: string
  readonly version: string
  readonly kind: string
  readonly listKind: string
  readonly plural: string
  readonly singular: string
  readonly shortNames: readonly string[]
  readonly namespaced: boolean
  readonly description: string
  /** The collection in the store; versions of one kind share it. */
  readonly collection: string
  /**
   * What a write to /status changes. The real server lets it change metadata too for its own kinds (Calico publishes
   * keys that way), but status alone for custom resources.
   */
  readonly status: 'none' | 'with-metadata' | 'alone'
  /** Whether metadata.generation counts changes of what is not metadata or status. */
  readonly generation: boolean
  /** Fields that a fieldSelector may name, beyond metadata.name and metadata.namespace. */
  readonly selectable: readonly string[]
  readonly columns: readonly Column[]
  /** For kinds that take strategic merge patches: the key that merges the list at each path. `''` merges plain values. */
  readonly mergeKeys: Readonly<Record<string, string>> | undefined
  /** What custom resources are pruned, defaulted and checked by. */
  readonly schema: ObjectSchema | undefined
  /** Checks beyond the schema, as the real server has for its own kinds. */
  readonly check?: (next: JsonObject, previous: JsonObject | undefined) => readonly Cause[]
  /** What the server itself fills in when one is made. */
  readonly complete?: (object: JsonObject) => JsonObject
  /** Translation between this version and the stored form, where they differ. */
  readonly toStored?: (object: JsonObject) => JsonObject
  readonly fromStored?: (object: JsonObject) => JsonObject
}

export function groupVersion(resource: Pick<Resource, 'group' | 'version'>): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`
}

/** How errors name it: the plural in its group, and the object where there is one. */
export function subjectOf(resource: Resource, name?: string): { group: string; kind: string; name?: string } {
  return { group: resource.group, kind: resource.plural, ...(name !== undefined && { name }) }
}
