import { encodeItem, encodeObject, encodePartial } from './encoding.ts'
import type { JsonObject } from './json.ts'
import type { StoredObject } from './object.ts'
import { groupVersion, type Resource } from './resource.ts'
import { ApiError, notAcceptable } from './status.ts'
import { encodeTable, type IncludeObject } from './table.ts'

/** metadata of a list. */
export interface ListMeta {
  readonly resourceVersion: string
  readonly continue?: string
  readonly remainingItemCount?: number
}

/** The form in which a client wants objects: whole, their metadata alone, or rows of a table. */
export interface Representation {
  one(resource: Resource, object: StoredObject): string
  list(resource: Resource, objects: readonly StoredObject[], meta: ListMeta): string
  /** The object of a BOOKMARK, which has nothing but metadata. Throws 406 where the form is one of lists, as `one` does. */
  bookmark(resource: Resource, metadata: JsonObject): string
}

const JSON_TYPE = 'application/json'
const META = 'meta.k8s.io'

/** Chooses by the Accept header, as the real server does: the first form that it knows. Throws 406. */
export function representationFor(accept: string, includeObject: IncludeObject): Representation {
  for (const range of accept.split(',')) {
    const [type = '', ...parameters] = range.split(';').map(part => part.trim())
    if (!['', '*/*', 'application/*', JSON_TYPE].includes(type)) continue
    const { as, g, v } = Object.fromEntries(parameters.map(parameter => parameter.split('=')))
    if (as === undefined) return whole
    if (g !== META || v !== 'v1') continue
    if (as === 'Table') return table(includeObject)
    if (as === 'PartialObjectMetadata') return partial
    if (as === 'PartialObjectMetadataList') return partialList
  }
  throw notAcceptable([JSON_TYPE])
}

function encodeList(kind: string, apiVersion: string, metadata: ListMeta, items: readonly string[]): string {
  return `${JSON.stringify({ kind, apiVersion, metadata }).slice(0, -1)},"items":[${items.join(',')}]}`
}

const whole: Representation = {
  one: encodeObject,
  list: (resource, objects, meta) => {
    const items = objects.map(object => encodeItem(resource, object))
    return encodeList(resource.listKind, groupVersion(resource), meta, items)
  },
  bookmark: (resource, metadata) => {
    return JSON.stringify({ kind: resource.kind, apiVersion: groupVersion(resource), metadata })
  },
}

const partial: Representation = {
  one: (_, object) => encodePartial(object),
  list: resource => {
    const why = `you requested PartialObjectMetadata, but the requested object is a list (${resource.listKind})`
    throw new ApiError(406, 'NotAcceptable', why)
  },
  bookmark: (_, metadata) => JSON.stringify({ kind: 'PartialObjectMetadata', apiVersion: `${META}/v1`, metadata }),
}

const partialList: Representation = {
  one: notList,
  list: (_, objects, meta) => {
    return encodeList('PartialObjectMetadataList', `${META}/v1`, meta, objects.map(encodePartial))
  },
  bookmark: notList,
}

function notList(resource: Resource): never {
  const why = `you requested PartialObjectMetadataList, but the requested object is not a list (${resource.kind})`
  throw new ApiError(406, 'NotAcceptable', why)
}

function table(include: IncludeObject): Representation {
  return {
    one: (resource, object) => {
      return encodeTable(resource, [object], { resourceVersion: object.metadata.resourceVersion }, include)
    },
    list: (resource, objects, meta) => encodeTable(resource, objects, { ...meta }, include),
    bookmark: (resource, metadata) => encodeTable(resource, [], metadata, include),
  }
}
