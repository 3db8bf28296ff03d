import { isObject, type Json, type JsonObject, objectAt, textAt, without } from './json.ts'
import { jsonPatch } from './json-patch.ts'
import { mergePatch } from './merge-patch.ts'
import type { Resource } from './resource.ts'
import { ApiError, badRequest, invalidOption, unsupportedMediaType } from './status.ts'
import { strategicMergePatch } from './strategic-merge-patch.ts'

const JSON_PATCH = 'application/json-patch+json'
const MERGE_PATCH = 'application/merge-patch+json'
const STRATEGIC = 'application/strategic-merge-patch+json'
export const APPLY = 'application/apply-patch+yaml'

/** The patches that a kind takes: custom resources have no strategic merge. Throws 415 for any other. */
export function checkPatchType(resource: Resource, type: string): void {
  const accepted = [JSON_PATCH, MERGE_PATCH, ...(resource.mergeKeys === undefined ? [] : [STRATEGIC]), APPLY]
  if (!accepted.includes(type)) throw unsupportedMediaType(accepted)
}

/** What that patch makes of the object. Throws 400 and 422. */
export function applyPatch(resource: Resource, type: string, patch: Json, current: JsonObject): JsonObject {
  const patched = type === JSON_PATCH ? jsonPatch(current, patch) : merged(resource, type, patch, current)
  if (!isObject(patched)) throw new ApiError(422, 'Invalid', 'the patch leaves no object')
  return patched
}

function merged(resource: Resource, type: string, patch: Json, current: JsonObject): Json {
  if (!isObject(patch)) throw badRequest('error decoding patch: not an object')
  if (type === STRATEGIC) return strategicMergePatch(current, patch, resource.mergeKeys ?? {})
  if (type === MERGE_PATCH) return mergePatch(current, patch)
  return strategicMergePatch(current, appliedFields(patch), resource.mergeKeys ?? {})
}

/**
 * Server-side apply, simplified: what is applied is merged in and nobody owns fields, so there are no conflicts and
 * nothing goes away because it is no longer applied.
 */
export function appliedFields(patch: JsonObject): JsonObject {
  const metadata = without(objectAt(patch, 'metadata'), 'creationTimestamp', 'managedFields', 'resourceVersion')
  return { ...patch, metadata }
}

/** Throws 400 where an apply says whose it is nowhere, or names another object than the path. */
export function checkApply(patch: Json, query: URLSearchParams, name: string): asserts patch is JsonObject {
  if (!query.get('fieldManager')) {
    const message = 'Required value: is required for apply patch'
    throw invalidOption('PatchOptions', 'fieldManager', 'FieldValueRequired', message)
  }
  if (!isObject(patch)) throw badRequest('error decoding YAML: not an object')
  if (textAt(patch, 'kind') === '' || textAt(patch, 'apiVersion') === '') {
    throw badRequest("invalid object type: Object 'Kind' or 'apiVersion' is missing")
  }
  const given = textAt(patch, 'metadata', 'name')
  if (given !== '' && given !== name)
    throw badRequest(`metadata.name "${given}" is not the name in the path, "${name}"`)
}
