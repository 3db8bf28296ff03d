import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type Json, type JsonObject, objectAt, plainText, textAt, without } from './json.ts'
import { checkMetadata, decodeMetadata, nameOf } from './metadata.ts'
import { type StoredObject, withMeta } from './object.ts'
import { groupVersion, type Resource, subjectOf } from './resource.ts'
import { ApiError, badRequest, type Cause, conflict, invalid } from './status.ts'
import { timestamp } from './timestamp.ts'

/** What became of an object on its way into the store. */
export interface Admitted {
  /** Without resourceVersion, which the store gives. */
  readonly object: JsonObject
  /** Fields that the schema does not know and that were dropped. */
  readonly unknown: readonly string[]
}

/** metadata that a client may send and the server does not take from it. */
const SERVER_FIELDS = {
  resourceVersion: undefined,
  selfLink: undefined,
  deletionTimestamp: undefined,
  deletionGracePeriodSeconds: undefined,
}

/** A new object, ready for the store. Throws 400 and 422. */
export function admitCreate(resource: Resource, body: JsonObject, namespace: string | undefined): Admitted {
  decode(resource, body, namespace)
  if (textAt(body, 'metadata', 'resourceVersion') !== '') {
    // The real server takes this for a fault of its own, and so do its clients.
    throw new ApiError(500, '', 'resourceVersion should not be set on objects to be created')
  }
  const stored = (resource.toStored ?? same)(without(body, 'apiVersion', 'kind'))
  const fresh = withMeta(resource.status === 'alone' ? without(stored, 'status') : stored, {
    ...SERVER_FIELDS,
    name: nameOf(body),
    namespace,
    uid: randomUUID(),
    creationTimestamp: timestamp(),
    generation: resource.generation ? 1 : undefined,
  })
  return admit(resource, (resource.complete ?? same)(fresh), undefined)
}

/** An object that replaces another, ready for the store. Throws 400, 409 and 422. */
export function admitUpdate(
  resource: Resource,
  current: StoredObject,
  body: JsonObject,
  subresource?: string,
): Admitted {
  const namespace = textAt(current, 'metadata', 'namespace')
  decode(resource, body, namespace === '' ? undefined : namespace)
  const { name } = current.metadata
  const bodyName = textAt(body, 'metadata', 'name')
  if (bodyName !== '' && bodyName !== name) {
    throw badRequest(`the name of the object (${bodyName}) does not match the name on the URL (${name})`)
  }
  if (requiresVersion(resource) && textAt(body, 'metadata', 'resourceVersion') === '') {
    const message = 'Invalid value: 0: must be specified for an update'
    const cause = { reason: 'FieldValueInvalid', message, field: 'metadata.resourceVersion' }
    throw invalid(subjectOf(resource, name), [cause])
  }
  checkPreconditions(resource, current, objectAt(body, 'metadata'))
  const stored = (resource.toStored ?? same)(without(body, 'apiVersion', 'kind'))
  const { object, unknown } = admit(resource, merged(resource, current, stored, subresource), current)
  if (!resource.generation || isDeepStrictEqual(counted(resource, object), counted(resource, current))) {
    return { object, unknown }
  }
  const generation = Number(current.metadata.generation ?? 0) + 1
  return { object: withMeta(object, { generation }), unknown }
}

/** Throws 409 where the client's resourceVersion or uid is not the object's. */
export function checkPreconditions(resource: Resource, current: StoredObject, wanted: JsonObject): void {
  const subject = subjectOf(resource, current.metadata.name)
  const { uid, resourceVersion } = wanted
  if (typeof uid === 'string' && uid !== '' && uid !== current.metadata.uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata.uid}`
    throw conflict(subject, why)
  }
  if (typeof resourceVersion !== 'string' || resourceVersion === '' || resourceVersion === '0') return
  if (resourceVersion !== current.metadata.resourceVersion) throw conflict(subject)
}

/** Whether the two differ in more than the resourceVersion: a write that changes nothing is none. */
export function sameObject(a: JsonObject, b: JsonObject): boolean {
  return isDeepStrictEqual(withMeta(a, { resourceVersion: undefined }), withMeta(b, { resourceVersion: undefined }))
}

/** Custom resources and their definitions are replaced only by who knows what is replaced. */
function requiresVersion(resource: Resource): boolean {
  return resource.mergeKeys === undefined
}

function same(object: JsonObject): JsonObject {
  return object
}

function decode(resource: Resource, body: JsonObject, namespace: string | undefined): void {
  checkType(resource, body)
  decodeMetadata(resource, body)
  const given = textAt(body, 'metadata', 'namespace')
  if (given !== '' && resource.namespaced && given !== namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request')
  }
}

/** Kind and version as the path has them. The real server's own kinds may come without; a custom resource may not. */
function checkType(resource: Resource, { kind, apiVersion }: JsonObject): void {
  const own = resource.schema === undefined
  if (kind === undefined && !own) throw badRequest("the object provided is unrecognized: Object 'Kind' is missing")
  if (kind !== undefined && kind !== resource.kind) {
    const given = plainText(kind)
    if (own) throw badRequest(`${given} in version "${plainText(apiVersion)}" cannot be handled as a ${resource.kind}`)
    const message = `Invalid value: ${JSON.stringify(kind)}: must be ${resource.kind}`
    throw invalid({ group: resource.group, kind: given }, [{ reason: 'FieldValueInvalid', message, field: 'kind' }])
  }
  if (apiVersion === groupVersion(resource) || (own && apiVersion === undefined)) return
  const versions = `(${plainText(apiVersion)}) does not match the expected API version (${groupVersion(resource)})`
  throw badRequest(`the API version in the data ${versions}`)
}

/** The current object with what that write may change: all but status, or status, or status and metadata. */
function merged(
  resource: Resource,
  current: StoredObject,
  next: JsonObject,
  subresource: string | undefined,
): JsonObject {
  const metadata = withMeta(next, {
    ...SERVER_FIELDS,
    managedFields: current.metadata.managedFields,
    name: current.metadata.name,
    namespace: current.metadata.namespace,
    uid: current.metadata.uid,
    creationTimestamp: current.metadata.creationTimestamp,
    generation: current.metadata.generation,
    generateName: current.metadata.generateName,
    deletionTimestamp: current.metadata.deletionTimestamp,
    deletionGracePeriodSeconds: current.metadata.deletionGracePeriodSeconds,
  }).metadata as Json
  const status = subresource === 'status' ? next.status : current.status
  const withStatus = (object: JsonObject): JsonObject => {
    return status === undefined ? without(object, 'status') : { ...object, status }
  }
  if (resource.status === 'none') return { ...next, metadata }
  if (subresource === undefined) return withStatus({ ...next, metadata })
  return withStatus(resource.status === 'alone' ? current : { ...current, metadata })
}

/** What metadata.generation counts changes of. */
function counted(resource: Resource, object: JsonObject): JsonObject {
  return resource.status === 'none' ? without(object, 'metadata') : without(object, 'metadata', 'status')
}

function admit(resource: Resource, object: JsonObject, previous: StoredObject | undefined): Admitted {
  const shaped = resource.schema?.shape(object) ?? { object, unknown: [] }
  const causes: readonly Cause[] = [
    ...checkMetadata(resource, shaped.object),
    ...(resource.schema?.check(shaped.object) ?? []),
    ...(resource.check?.(shaped.object, previous) ?? []),
  ]
  if (causes.length === 0) return shaped
  const name = textAt(object, 'metadata', 'name')
  throw invalid({ group: resource.group, kind: resource.kind, name }, causes)
}
